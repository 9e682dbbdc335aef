"""What must hold of upcoming invoices: how often they are asked for, and how old their rows may be.

What is compared is what the sandbox computes at that moment, so nothing has to be remembered of what it was before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from oracle import PREVIEWS, Difference, differences, key_of, table_names

from tap_stripe_events.upcoming import METERED_SECONDS, PreviewPurpose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import psycopg
    from checkers import Key
    from oracle import Oracle, StripeObject
    from plan import PreviewPlan

    from tap_stripe_events.client import Request
    from tap_stripe_events.roster import Key as PreviewKey

Entry = tuple[float, bool, "Request"]
"""When, whether it was the answer (or the wish to send it), and which request."""

EVENTS_PATH = "/v1/events"
REASON = "previews"  # that their requests give, those for the roster too
LOOK_SECONDS = 60
REST_SECONDS = 900
"""A run that ends looks whose turn it is if so much time has passed since the last one looked."""

FEED_SECONDS = 6.0
"""For how long the feed may wait at the most, besides the time between two polls, where nothing is slow."""


def wrong_previews(
    connection: psycopg.Connection[Any], plan: PreviewPlan, oracle: Oracle, truth: Iterable[StripeObject]
) -> list[Difference]:
    """Return every cell that is not what Stripe computes now, and every row that nothing is computed for.

    Args:
        connection: A session in the database.
        plan: Which kinds are read.
        oracle: Computes cells.
        truth: All upcoming invoices, as of now.
    """
    return differences(connection, oracle.expect(truth), tables=plan.readable)


def rows_that_nobody_asked_for(connection: psycopg.Connection[Any], plan: PreviewPlan) -> Iterator[str]:
    """A kind that cannot be asked for, or is not selected, has no rows."""
    for name in sorted((PREVIEWS - plan.readable) & table_names(connection)):
        found = connection.execute(f'SELECT count(*) FROM stripe."{name}"').fetchone()
        if found and found[0]:
            yield f"{name} has {found[0]} rows, and it is not read"


def requests(entries: Iterable[Entry], plan: PreviewPlan) -> Iterator[str]:
    """Of one key there is one request at a time, one for each poll that tells of it, and one for each turn of its own.

    Polls are counted by their pages: each may tell of a key again.
    """
    entries = list(entries)
    seen = _Seen(refresh_seconds=plan.refresh_seconds, began=entries[0][0] if entries else 0.0)
    for moment, answered, request in entries:
        seen.pages += answered and request.path == EVENTS_PATH
        if not plan.readable and request.reason == REASON:
            yield f"{request.path} is asked for, and no upcoming invoices are to be read"
            return
        if isinstance(request.purpose, PreviewPurpose):
            yield from seen.take(moment, request.purpose, answered=answered)


@dataclass(kw_only=True)
class _Seen:
    """What was asked for in a run until now."""

    refresh_seconds: int
    began: float
    pages: int = 0
    under_way: set[PreviewKey] = field(default_factory=set)
    told: Counter[PreviewKey] = field(default_factory=Counter)
    ended: Counter[PreviewKey] = field(default_factory=Counter)
    turns: dict[PreviewKey, int] = field(default_factory=dict)

    def take(self, moment: float, purpose: PreviewPurpose, *, answered: bool) -> Iterator[str]:
        """Take in a request or an answer."""
        key = purpose.key
        if answered:
            self.under_way.discard(key)
            return
        if key in self.under_way:
            yield f"{key} is asked for twice at once"
        self.under_way.add(key)
        if purpose.body is None:  # else it is a page of its lines
            yield from self._count(moment, purpose)

    def _count(self, moment: float, purpose: PreviewPurpose) -> Iterator[str]:
        key, turn = purpose.key, purpose.turn
        if turn is not None:
            least = min(self.refresh_seconds, METERED_SECONDS)
            if turn - self.turns.get(key, turn - least) < least:
                yield f"{key} is asked for at {turn}, and its last turn was {self.turns[key]}"
            self.turns[key] = turn
        elif purpose.at_least:
            self.told[key] += 1
            if self.told[key] > self.pages:
                yield f"{key} is asked for {self.told[key]} times after {self.pages} pages of events"
        else:
            self.ended[key] += 1
            if self.ended[key] > 2 + (moment - self.began) / LOOK_SECONDS:
                yield f"{key} is asked for {self.ended[key]} times since a period has ended"


def feed_waits(entries: Iterable[Entry], poll_seconds: float) -> Iterator[str]:
    """Where nothing goes wrong the feed is read in time, however many upcoming invoices are waited for."""
    last = None
    for moment, answered, request in entries:
        if request.path != EVENTS_PATH:
            continue
        if not answered and last is not None and moment - last > poll_seconds + FEED_SECONDS:
            yield f"the feed was not read for {moment - last:.1f} s before {moment:.1f}"
        last = moment


class Freshness:
    """As of when the tables say what an upcoming invoice is: what STATEs have covered.

    A row that is the same again may keep its ``_sdc_as_of``; what the tap said of it tells how fresh it is.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, Key], datetime] = {}

    def covered(self, records: Iterable[dict[str, Any]]) -> None:
        """Take in records that are in the tables now."""
        for each in records:
            if each["stream"] in PREVIEWS:
                row = (each["stream"], key_of(each["stream"], each["record"]))
                as_of = datetime.fromisoformat(each["record"]["_sdc_as_of"])
                self._known[row] = max(as_of, self._known.get(row, as_of))

    def check(self, truth: Iterable[StripeObject], plan: PreviewPlan, began: float) -> Iterator[str]:
        """What is there has been computed within a period, as seen from a run that began at a Unix time."""
        oldest = datetime.fromtimestamp(began - plan.refresh_seconds - REST_SECONDS - LOOK_SECONDS, UTC)
        for each in truth:
            as_of = self._known.get((each.object, (each.key,)))
            if each.object in plan.readable and (as_of is None or as_of < oldest):
                yield f"{each.object} of {each.key} is as of {as_of}; it should have had a turn since {oldest}"
