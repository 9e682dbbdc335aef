"""The queries of the page about operating: silent after a good run, and not if something is wrong."""

import re
import time

import pytest
from meltano_project import ROOT

PAGE = (ROOT / "docs" / "operating.md").read_text()
SECTION = PAGE.partition("## What to alert on")[2].partition("\n## ")[0]
QUERIES = re.findall(r"^```sql\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)

CHARGE = "UPDATE stripe._sync_status SET {} WHERE stream = 'charge'"
WRONG = [
    "UPDATE stripe._sync SET polled_at = now() - interval '3 hours'",
    CHARGE.format("events_as_of = now() - interval '2 hours'"),
    CHARGE.format("backfill_finished_at = NULL, backfill_started_at = now() - interval '2 days'"),
    CHARGE.format("denied = 'no', bookmark = bookmark || jsonb_build_object('denied', '{}'::jsonb)"),
    CHARGE.format("drift = 1, drift_found_at = now()"),
    CHARGE.format("listed_at = now() - interval '10 days'"),
    CHARGE.format("bookmark = bookmark || jsonb_build_object('gap', '{}'::jsonb)"),
]
"""What each query is to notice, in their order on the page."""


@pytest.fixture
def synced(make_account, make_pipeline, connection):
    """A session in a database after a run and another one, on an account of the present."""
    account = make_account("demo", now=int(time.time()))
    account.control("clock", run=True)
    pipeline = make_pipeline(account)
    for _ in range(2):
        outcome = pipeline.run()
        assert outcome.succeeded, outcome.logs
    return connection


def test_every_query_is_silent_after_a_good_run_and_notices_what_it_is_for(synced):
    assert len(QUERIES) == len(WRONG)
    for query in QUERIES:
        assert synced.execute(query).fetchall() == [], query
    for place, wrong in enumerate(WRONG):
        with synced.transaction(force_rollback=True):
            assert synced.execute(wrong).rowcount == 1
            noticed = [bool(synced.execute(query).fetchall()) for query in QUERIES]
            assert noticed[place], QUERIES[place]
            # What is one query's business is not another's, save that of a stale feed.
            assert sum(noticed) == 1, wrong
