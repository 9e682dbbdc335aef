"""Whose key this is: found out before anything is written, and compared with what the state says.

The mode is in the key. The account is what `/v1/account` answers. A key that may not read that is told so by a refusal,
which names the account. Should it not, an object that an earlier run delivered is retrieved: the state remembers one of
each type of which nothing is ever deleted.
"""

import logging

from tap_stripe_events.bookmarks import Bookmarks
from tap_stripe_events.client import Request, StripeClient
from tap_stripe_events.errors import StrangeKeyError
from tap_stripe_events.limits import Verdict
from tap_stripe_events.object_table import STRIPE_OBJECTS

_ACCOUNT = "/v1/account"

_logger = logging.getLogger("tap-stripe-events")


def identify(client: StripeClient, bookmarks: Bookmarks, *, livemode: bool) -> None:
    """Claim the state for the key's account and mode.

    Raises:
        OtherModeError: The state is the other mode's.
        OtherAccountError: It is another account's.
        StrangeKeyError: It seems to be another account's.
    """
    bookmarks.claim(None, livemode=livemode)
    answer = client.get(Request(path=_ACCOUNT, endpoint=_ACCOUNT))
    if answer.verdict is Verdict.TAKE and isinstance(answer.body.get("id"), str):
        bookmarks.claim(answer.body["id"], livemode=livemode)
    elif answer.refusal is not None and answer.refusal.account is not None:
        bookmarks.claim(answer.refusal.account, livemode=livemode)
    else:
        _recognize(client, bookmarks)


def _recognize(client: StripeClient, bookmarks: Bookmarks) -> None:
    """Retrieve remembered objects until one is there.

    Raises:
        StrangeKeyError: None is, and Stripe knows nothing of one that the key may read.
    """
    strangers: list[tuple[str, str]] = []
    objects = {each.stream: each for each in STRIPE_OBJECTS.values() if each.lasting}
    remembered = {stream: each for stream, each in bookmarks.remembered().items() if stream in objects}
    for stream, identifier in remembered.items():
        path = objects[stream].retrieve[0]
        answer = client.get(Request(path=path.replace("{id}", identifier), endpoint=path))
        if answer.verdict is Verdict.TAKE:
            for each, _ in strangers:  # so it was deleted after all
                bookmarks.forget(each)
            return
        if answer.verdict is Verdict.GONE:
            strangers.append((stream, identifier))
    if strangers:
        stream, identifier = strangers[0]
        raise StrangeKeyError(object=stream, id=identifier, account=bookmarks.account_id or "of the state")
    if remembered:
        _logger.warning(
            "Whose key this is cannot be told: it may read neither %s nor any of the objects by which the account "
            "would be known (%s). Make sure that it is a key of the account whose tables these are.",
            _ACCOUNT,
            ", ".join(remembered),
        )
