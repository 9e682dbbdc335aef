"""Old versions of the official Python library, through the proxy and not: the same answers, and the rows of today's."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stripe_sandbox.sandbox import Sandbox

VERSIONS = {"2": "2020-08-27", "5": "2022-11-15", "8": "2023-10-16", "11": "2025-02-24.acacia"}
TIMEOUT_SECONDS = 120


@pytest.fixture
def run(
    old_library: Callable[[str], tuple[Path, Path]],
    make_sandbox: Callable[..., Sandbox],
    claim: Callable[..., None],
    make_proxy: Callable[..., str],
) -> Callable[[str], list[list[Any]]]:
    """Runs the program with a version of the library: what it is told directly, and through the proxy."""

    def run(library: str) -> list[list[Any]]:
        python, program = old_library(library)
        one, other = make_sandbox(), make_sandbox()
        claim(other.account.id)
        proxy = make_proxy(other)
        told = []
        for bases in ((one.url, one.url), (f"{proxy}/api.stripe.com", f"{proxy}/files.stripe.com")):
            done = subprocess.run(
                [python, program, *bases, VERSIONS[library]],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            told.append(json.loads(re.sub(r"req_\w+", "", done.stdout)))
        return told

    return run


@pytest.mark.parametrize("library", VERSIONS)
def test_a_program_of_its_time_is_told_the_same_and_the_rows_are_of_todays(
    run: Callable[[str], list[list[Any]]], rows: Callable[..., list[Any]], library: str
) -> None:
    directly, told = run(library)
    assert told == directly
    customer, subscription = told[0]["id"], told[6]["id"]
    assert rows("SELECT name, metadata FROM stripe.customer WHERE id = %s", customer) == [("Søn", {})]
    assert rows("SELECT count(*) FROM stripe.customer WHERE name = 'once'") == [(1,)]
    assert rows("SELECT jsonb_array_length(tiers) FROM stripe.price") == [(2,)]
    assert rows("SELECT status FROM stripe.subscription WHERE id = %s", subscription) == [("active",)]
    assert rows("SELECT count(*) FROM stripe.invoice") == [(1,)]
    assert rows("SELECT status FROM stripe.payment_intent") == [("requires_payment_method",)]
    assert rows("SELECT size FROM stripe.file") == [(256,)]
    assert rows("SELECT count(*) FROM stripe.coupon WHERE _sdc_deleted_at IS NULL") == [(0,)]
