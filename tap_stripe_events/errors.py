"""What can go wrong in the tap. A class's docstring is its message; `{names}` are filled from the keyword arguments."""

import inspect


class TapError(Exception):
    """The tap cannot go on.

    Attributes:
        request: The request that failed, if it was one in the background.
    """

    request: object = None

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(inspect.cleandoc(type(self).__doc__ or "").replace("\n", " ").format(**facts))


class NothingSelectedError(TapError):
    """
    No stream is selected, so there is nothing to read. `meltano select tap-stripe-events --list --all` shows what is
    selected; `meltano select tap-stripe-events "*" "*"` selects everything.
    """


class WrongSettingError(TapError):
    """Setting {setting}: {problem}. {way_out}"""


class KeyRefusedError(TapError):
    """
    Stripe refused the API key {key} (HTTP {status}, {code}, request {request}). Check
    TAP_STRIPE_EVENTS_API_KEY: the key may be revoked, expired or restricted to other IP addresses.
    """


class RequestRefusedError(TapError):
    """
    Stripe refused GET {path} (HTTP {status}, {code}, parameter {parameter}, request {request}): {reason}. Nothing was
    lost: the state is saved up to here. Deselect the stream {stream} to go on without it, or report this if the request
    looks right.
    """


class NotStripeError(TapError):
    """
    GET {path} answered HTTP {status} with a body that is not Stripe's. Nothing was lost: the state is saved up to here.
    Check the setting api_url, which is {api_url}, and what stands between here and there.
    """


class RetriesSpentError(TapError):
    """
    {api_url} did not answer GET {path} in {tries} tries over {seconds:.0f} s; the last one ended with: {reason}.
    Nothing was lost: the state is saved up to here. Run again to go on from there.
    """


class EndlessListError(TapError):
    """
    The list {path} repeats itself: after the cursor {cursor} came {problem}. Paging was stopped so that it does not run
    forever. If {api_url} is Stripe, run again; if it is something else, it does not page as Stripe does.
    """


class UnfinishedListError(TapError):
    """
    The lists {paths} were not read to their ends, though nothing was left to ask for. This is a fault of the tap:
    please report it. Nothing was lost: the state is saved up to here, and the next run goes on from there.
    """


class NotAListError(TapError):
    """
    GET {path} answered HTTP 200 with a body that is not a Stripe list ({found}). If {api_url} is Stripe, run again; if
    it is something else, it does not answer as Stripe does.
    """


class OtherAccountError(TapError):
    """
    The state belongs to account {stored} and the API key to account {current}. Nothing was written. Use the key of
    {stored}, or another Meltano environment or state id for {current}.
    """


class StrangeKeyError(TapError):
    """
    Stripe does not know the {object} {id}, which an earlier run read, so the API key seems to be another account's. (It
    may not read /v1/account, where that would be said.) Nothing was written. Use a key of the account {account}, or
    another Meltano environment or state id for this key. If the account is the same and its objects are gone, as after
    deleting all test data, begin anew: meltano run --full-refresh tap-stripe-events target-postgres-stripe.
    """


class AccountsUnknownError(TapError):
    """
    With connected_accounts the tap has to know {what}, and Stripe does not tell it at {path}: {why}. Nothing was
    written. Let the key read accounts; or name the accounts, and set own_account to false to go without the key's own.
    """


class AccountsFailedError(TapError):
    """
    {failed} of {all} accounts could not be read to the end; the others could. Nothing was lost: the state is saved up
    to here, and the next run goes on from there. {shown}
    """


class OtherKindOfStateError(TapError):
    """
    The state was written with connected_accounts {stored}, and now it is {current}: the tables of the two have other
    keys. Nothing was written. Set it back, or use another Meltano environment or state id together with another
    default_target_schema.
    """


class OtherModeError(TapError):
    """
    The state belongs to {stored} mode and the API key is a {current} key. Nothing was written. Use a {stored} key, or
    another Meltano environment or state id for {current} mode.
    """
