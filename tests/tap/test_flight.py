"""What is asked for at once, what waits for the budget, and that nothing is lost by waiting."""

from collections.abc import Iterator
from typing import Any

from stand_in import StandInStripe

from tap_stripe_events.client import Answer, Request
from tap_stripe_events.flight import Flight
from tap_stripe_events.request_queue import RequestQueue


class Busy(StandInStripe):
    """A Stripe of which one endpoint has no place in the budget for now."""

    busy = True

    def delay(self, endpoint: str) -> float:
        return 0.5 if self.busy and endpoint == "/v1/charges" else 0.0


class Asks:
    """A source that asks for pages of two lists."""

    def __init__(self) -> None:
        paths = ["/v1/charges", "/v1/charges", "/v1/coupons", "/v1/charges"]
        self.queues = (RequestQueue(Request(path=each, endpoint=each) for each in paths),)

    def take(self, answer: Answer) -> Iterator[Any]:
        yield answer.request.path


def test_requests_that_must_wait_are_kept_and_hold_up_no_other_endpoint() -> None:
    stripe, asks = Busy({"/v1/charges": [], "/v1/coupons": []}), Asks()
    flight = Flight(stripe)  # type: ignore[arg-type]
    assert flight.submit([asks]) == 0.5
    assert stripe.in_flight == 1
    stripe.busy = False
    flight.submit([asks])
    assert stripe.in_flight == 4
