"""Whose key it is: by the account, by a refusal that names it, by an object that an earlier run read."""

import copy
import logging
from typing import Any

import pytest
from stand_in import NO_PERMISSION, NOW, StandInStripe

from tap_stripe_events.bookmarks import Bookmarks
from tap_stripe_events.client import Answer, Request
from tap_stripe_events.errors import OtherAccountError, OtherModeError, StrangeKeyError
from tap_stripe_events.identity import identify
from tap_stripe_events.limits import Refusal
from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.plan import Rhythm
from tap_stripe_events.sync import Pace, Run

ACCOUNT = "/v1/account"
DENIED = (403, "The provided key does not have the required permissions for this endpoint.")
NAMED = "The provided key 'rk_test_***1234' does not have the required permissions for this endpoint on account '{}'. "
OLD_WORDS = NAMED + "Having the 'rak_charge_read' permission would allow this request to continue."
NEW_WORDS = NAMED + (
    "Enabling Charges Read ('charge_read') permissions on this key would allow this request to continue. "
    "You can edit permissions at https://dashboard.example/b/acct_9?destination=%2Fapikeys"
)


class Key(StandInStripe):
    """A Stripe as one key sees it."""

    def get(self, request: Request) -> Answer:
        self.requests.append(request)
        self._began = NOW
        return self._answer(request)


def stripe(*refused: str, account: str = "acct_1", refusal: tuple[int, str] = DENIED, **lists: Any) -> Key:
    found: dict[str, Any] = {ACCOUNT: {"id": account, "object": "account"}}
    found |= {f"/v1/{name}": [{"id": each, "created": NOW} for each in ids] for name, ids in lists.items()}
    made = Key(found)
    made.refusals |= dict.fromkeys(refused, DENIED)
    if ACCOUNT in refused:
        made.refusals[ACCOUNT] = refusal
    return made


def state(**known_by: str) -> dict[str, Any]:
    return {"account": {"id": "acct_1", "livemode": False, "known_by": known_by}}


def identified(key: Key, kept: dict[str, Any], *, livemode: bool = False) -> dict[str, Any]:
    identify(key, Bookmarks(kept), livemode=livemode)  # type: ignore[arg-type]
    found: dict[str, Any] = kept["account"]
    return found


def test_a_key_that_may_read_the_account_says_whose_it_is() -> None:
    assert identified(stripe(), {}) == {"id": "acct_1", "livemode": False}
    with pytest.raises(OtherAccountError, match="account acct_1 and the API key to account acct_2"):
        identified(stripe(account="acct_2"), state())


@pytest.mark.parametrize("words", [OLD_WORDS, NEW_WORDS])
def test_a_refusal_that_names_the_account_says_whose_key_it_is(words: str) -> None:
    def key(account: str) -> Key:
        return stripe(ACCOUNT, refusal=(403, words.format(account)))

    assert identified(key("acct_1"), {}) == {"id": "acct_1", "livemode": False}
    with pytest.raises(OtherAccountError, match="account acct_1 and the API key to account acct_2"):
        identified(key("acct_2"), state(charge="ch_1"))
    known = key("acct_1")
    identified(known, state(charge="ch_1"))
    assert [each.path for each in known.requests] == [ACCOUNT]


@pytest.mark.parametrize(
    ("words", "permission"), [(OLD_WORDS, "rak_charge_read"), (NEW_WORDS, "charge_read"), (NAMED, None)]
)
def test_a_refusal_names_the_permission_in_its_old_words_and_its_new(words: str, permission: str | None) -> None:
    refusal = Refusal(status=403, code="c", parameter="none", message=words.format("acct_1"), request="req_1")
    assert (refusal.permission, refusal.account) == (permission, "acct_1")


def test_an_account_that_is_named_for_another_reason_is_not_the_keys() -> None:
    refusal = Refusal(status=400, code="c", parameter="none", message="Oops on account 'acct_1'", request="req_1")
    assert refusal.account is None


def test_an_object_that_is_there_shows_that_the_account_is_the_same() -> None:
    kept = state(charge="ch_1", customer="cus_1")
    assert identified(stripe(ACCOUNT, charges=["ch_1"]), kept)["id"] == "acct_1"
    assert kept == state(charge="ch_1", customer="cus_1")


def test_a_key_to_which_the_object_does_not_exist_is_another_accounts() -> None:
    kept = state(charge="ch_1", customer="cus_1")
    before = copy.deepcopy(kept)
    with pytest.raises(StrangeKeyError, match=r"does not know the charge ch_1.*of the account acct_1.*full-refresh"):
        identified(stripe(ACCOUNT, charges=["ch_2"]), kept)
    assert kept == before


def test_one_object_may_be_gone_if_another_is_there() -> None:
    kept = state(charge="ch_1", customer="cus_1")
    identified(stripe(ACCOUNT, charges=[], customers=["cus_1"]), kept)
    assert kept == state(customer="cus_1")


def test_what_the_key_may_not_read_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    denied = ("/v1/charges/ch_1", ACCOUNT)
    with pytest.raises(StrangeKeyError, match="the customer cus_1"):
        identified(stripe(*denied), state(charge="ch_1", customer="cus_1"))
    with caplog.at_level(logging.WARNING):
        identified(stripe(*denied), state(charge="ch_1"))
    assert ["cannot be told" in each.message for each in caplog.records] == [True]


def test_a_state_that_remembers_nothing_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert identified(stripe(ACCOUNT), {}) == {"id": None, "livemode": False}
        identified(stripe(ACCOUNT), {"account": {"id": "acct_1", "livemode": False, "known_by": {"a_former": "x"}}})
    assert not caplog.records


def test_the_mode_is_looked_at_before_anything_is_asked() -> None:
    key = stripe()
    with pytest.raises(OtherModeError, match="test mode and the API key is a live key"):
        identified(key, state(charge="ch_1"), livemode=True)
    assert not key.requests


def test_a_run_remembers_the_first_object_of_each_lasting_type_and_none_that_may_vanish() -> None:
    lists: dict[str, Any] = {
        "/v1/customers": [
            {"id": "cus_clock", "object": "customer", "created": NOW - 1, "test_clock": "clock_1"},
            {"id": "cus_1", "object": "customer", "created": NOW - 2, "test_clock": None},
            {"id": "cus_2", "object": "customer", "created": NOW - 3, "test_clock": None},
        ],
        "/v1/test_helpers/test_clocks": [],
        "/v1/coupons": [{"id": "co_1", "object": "coupon", "created": NOW - 2}],
    }
    kept: dict[str, Any] = {}
    for _ in range(2):
        bookmarks = Bookmarks(kept)
        bookmarks.claim("acct_1", livemode=False)
        key = Key(lists)
        key.refusals |= {"/v1/charges": NO_PERMISSION}
        run = Run(
            client=key,  # type: ignore[arg-type]
            bookmarks=bookmarks,
            selected=["customer", "coupon", "charge"],
            floor=None,
            pace=Pace(rhythm=Rhythm(sweep_seconds=0, full_sweep_seconds=0)),
        )
        assert list(run.until_caught_up())
        assert bookmarks.remembered() == {"customer": "cus_1"}
        lists["/v1/customers"].pop(1)  # what is remembered stays so


def test_lasting_types_are_retrieved_by_their_id_and_no_event_says_that_they_are_gone() -> None:
    lasting = [each for each in STRIPE_OBJECTS.values() if each.lasting]
    assert len(lasting) > 20
    for each in lasting:
        assert [path.count("{id}") - path.count("{") + 1 for path in each.retrieve] == [1], each.name
        assert each.key == ("id",)
        assert not each.deleted_by or each.name == "customer"  # a deleted customer is answered all the same


def test_permissions_are_named_as_stripe_does_and_most_are_known() -> None:
    read = [each for each in STRIPE_LISTS if each.passes]
    named = [each.permission for each in read if each.permission]
    assert all(each.endswith("_read") and not each.startswith("rak_") for each in named)
    assert len(named) > 100
    assert not [each.path for each in read if each.guessed and not each.permission]
