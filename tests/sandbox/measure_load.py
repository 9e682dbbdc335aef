"""Measures what the sandbox bears: ``python tests/sandbox/measure_load.py [MUTATIONS]``. Not a test; prints figures.

A mix of writes with a poll of the feed after every 25 of them, in process; then a feed of 100,000 events; then a storm
of renewals. Times are of this process, so they include everything but the socket.
"""
# ruff: noqa: T201 - it prints

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from random import Random
from typing import Any
from urllib.parse import urlencode

from stripe_sandbox.messages import Request
from stripe_sandbox.sandbox import TEST_KEY, Service

HEADERS = {"authorization": f"Bearer {TEST_KEY}"}
PRICE = {"currency": "eur", "unit_amount": 900, "recurring[interval]": "month", "product_data[name]": "Box"}


class Measured:
    """A sandbox, and how long its answers took, by kind of request."""

    def __init__(self) -> None:
        self.service = Service(account="demo")
        self.seconds: dict[str, list[float]] = {}

    def ask(self, kind: str, method: str, path: str, **params: Any) -> Any:
        text = urlencode(params)
        query, body = (text, b"") if method == "GET" else ("", text.encode())
        request = Request(method=method, path=path, query=query, headers=HEADERS, body=body)
        start = time.perf_counter()
        response = self.service.handle(request).response
        self.seconds.setdefault(kind, []).append(time.perf_counter() - start)
        assert response.status == 200, (kind, response.body)
        return json.loads(response.body)

    def report(self) -> None:
        for kind, seconds in sorted(self.seconds.items()):
            longest = max(seconds) * 1000
            median = statistics.median(seconds) * 1000
            print(f"  {kind:24} {len(seconds):7} times, median {median:7.2f} ms, longest {longest:7.1f}")
        self.seconds.clear()


def mix(sandbox: Measured, mutations: int) -> None:
    random = Random(1)
    price = sandbox.ask("price", "POST", "/v1/prices", **PRICE)["id"]
    customers: list[str] = []
    subscriptions: list[str] = []
    for number in range(mutations):
        chance = random.random()
        if chance < 0.2 or not customers:
            made = sandbox.ask("customer", "POST", "/v1/customers", payment_method="pm_card_visa", name=f"C {number}")
            customers.append(made["id"])
        elif chance < 0.3:
            wanted = {"customer": random.choice(customers), "items[0][price]": price}
            subscriptions.append(sandbox.ask("subscription", "POST", "/v1/subscriptions", **wanted)["id"])
        elif chance < 0.5 and subscriptions:
            path = f"/v1/subscriptions/{random.choice(subscriptions)}"
            sandbox.ask("subscription changed", "POST", path, **{"metadata[n]": number})
        elif chance < 0.7:
            payment = {"amount": 500, "currency": "eur", "confirm": "true", "payment_method": "pm_card_visa"}
            sandbox.ask("payment", "POST", "/v1/payment_intents", **payment)
        else:
            sandbox.ask("customer changed", "POST", f"/v1/customers/{random.choice(customers)}", name=f"N {number}")
        if number % 25 == 0:
            sandbox.ask("poll", "GET", "/v1/events", limit=100, **{"created[gte]": sandbox.service.account.now() - 60})


def main(mutations: int) -> None:
    sandbox = Measured()
    start = time.process_time()
    mix(sandbox, mutations)
    spent = time.process_time() - start
    print(f"{mutations} mutations with polls: {spent / mutations * 1000:.2f} ms each")
    sandbox.report()
    account = sandbox.service.account
    number = 0
    while len(account.store.table("event").records) < 100_000:
        number += 1
        sandbox.ask("customer", "POST", "/v1/customers", name=f"E {number}")
    sandbox.seconds.clear()
    print(f"a feed of {len(account.store.table('event').records)} events")
    for _ in range(20):
        page = sandbox.ask("newest page", "GET", "/v1/events", limit=100)
        sandbox.ask("page within", "GET", "/v1/events", limit=100, starting_after=page["data"][-1]["id"])
        sandbox.ask("of a rare type", "GET", "/v1/events", limit=100, type="coupon.created")
        types = {"types[0]": "plan.created", "types[1]": "price.created"}
        sandbox.ask("of rare types", "GET", "/v1/events", limit=100, **types)
        sandbox.ask("oldest page", "GET", "/v1/events", limit=100, ending_before=page["data"][0]["id"])
        sandbox.ask("customer", "POST", "/v1/customers")
    sandbox.report()
    price = sandbox.ask("price", "POST", "/v1/prices", **PRICE)["id"]
    for _ in range(1_000):
        customer = sandbox.ask("customer", "POST", "/v1/customers", payment_method="pm_card_visa")["id"]
        sandbox.ask("subscription", "POST", "/v1/subscriptions", **{"customer": customer, "items[0][price]": price})
    sandbox.seconds.clear()
    account.clock.advance(32 * 86_400)
    start = time.perf_counter()
    while not sandbox.service.pass_time():
        sandbox.ask("poll in a storm", "GET", "/v1/events", limit=100)
    print(f"a storm of 1,000 renewals and more: {time.perf_counter() - start:.1f} s")
    sandbox.report()
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000)
