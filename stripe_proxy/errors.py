"""What can go wrong in the proxy itself. A class's docstring is its message; `{names}` are filled from arguments."""

import inspect


class ProxyError(Exception):
    """The proxy cannot go on."""

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(inspect.cleandoc(type(self).__doc__ or "").replace("\n", " ").format(**facts))


class WrongSettingError(ProxyError):
    """Setting {setting}: {problem}. {way_out}"""


class NoMeltanoError(ProxyError):
    """
    With --follow the sync is run by Meltano, and {problem}. Install it (pip install meltano), and start in a project
    with tap-stripe-events and target-postgres-stripe.
    """


class ForwardError(ProxyError):
    """A request was not answered by Stripe.

    Attributes:
        status: The HTTP status that the caller gets.
        code: Stripe's error form has one; this is the proxy's own.
    """

    status = 502
    code = "stripe_unreachable"


class UnreachableError(ForwardError):
    """
    {host} could not be reached ({reason}). Whether it has received the request is not known: send it again with the
    same Idempotency-Key.
    """


class TimedOutError(ForwardError):
    """
    {host} did not answer within {seconds:g} s. It may have performed the request: send it again with the same
    Idempotency-Key.
    """

    status = 504
    code = "stripe_timeout"


class FailedError(ForwardError):
    """
    The proxy failed ({reason}), which is a defect of its own. Whether Stripe has received the request is not known:
    send it again with the same Idempotency-Key.
    """

    status = 500
    code = "proxy_failed"


class CallerGoneError(ProxyError):
    """The caller has gone before the request was there whole."""


class UnknownHostError(ForwardError):
    """
    This proxy does not forward to {host}. Write http://HOST:PORT/{known}/…; other hosts are not reachable through it.
    """

    status = 404
    code = "unknown_host"


class NotAppliedError(ProxyError):
    """What Stripe answered is not in Postgres: {reason}. The feed of events brings it."""
