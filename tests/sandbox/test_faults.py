"""What can be made to go wrong, and what the sandbox tells about itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import requests

from stripe_sandbox.faults import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from fix_sandbox import Http

    from stripe_sandbox.sandbox import Sandbox


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "code"),
    [
        ("rate_limit", 429, "application/json", "rate_limit"),
        ("lock_timeout", 429, "application/json", "lock_timeout"),
        ("server_error", 500, "application/json", None),
        ("bad_gateway", 502, "text/html", None),
        ("unavailable", 503, "text/html", None),
        ("html_ok", 200, "text/html", None),
    ],
)
def test_a_fault_hits_as_often_as_it_was_told(
    http: Http, kind: str, status: int, content_type: str, code: str | None
) -> None:
    http.control("faults", kind=kind, path="/v1/charges", count=1)
    assert http.get("/v1/customers").status_code == 200
    hit = http.get("/v1/charges")
    assert (hit.status_code, hit.headers["Content-Type"]) == (status, content_type)
    if content_type == "application/json":
        assert hit.json()["error"].get("code") == code
    assert http.get("/v1/charges").json()["object"] == "list"


def test_a_429_may_say_how_long_to_wait_and_why(http: Http) -> None:
    http.control("faults", kind="rate_limit", count=1, retry_after_seconds=3, reason="global-rate")
    hit = http.get("/v1/customers")
    assert (hit.headers["Retry-After"], hit.headers["Stripe-Rate-Limited-Reason"]) == ("3", "global-rate")
    http.control("faults", kind="rate_limit", count=1)
    assert "Retry-After" not in http.get("/v1/customers").headers


def test_a_reset_before_the_answer_performs_nothing_and_one_after_it_does(http: Http) -> None:
    for kind, expected in (("reset_before", 0), ("reset_after", 1)):
        http.control("faults", kind=kind, method="POST", count=1)
        with pytest.raises(requests.ConnectionError):
            http.post("/v1/customers", {"name": "A"})
        assert len(http.get("/v1/customers").json()["data"]) == expected


def test_a_truncated_body_is_shorter_than_it_says(http: Http) -> None:
    http.control("faults", kind="truncated", count=1)
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        http.get("/v1/customers")


def test_a_slow_answer_runs_into_the_clients_timeout(sandbox: Sandbox) -> None:
    url = f"{sandbox.url}/v1/customers"
    assert requests.post(f"{sandbox.url}/_sandbox/faults", json={"kind": "slow", "seconds": 5}, timeout=5).ok
    with pytest.raises(requests.ReadTimeout):
        requests.get(url, headers={"Authorization": "Bearer sk_test_sandbox"}, timeout=0.1)


def test_faults_with_a_probability_come_from_the_seed(make_sandbox: Callable[..., Sandbox], connect: Any) -> None:
    def statuses() -> list[int]:
        http = connect(make_sandbox(seed=3))
        http.control("faults", kind="server_error", probability=0.5)
        return [http.get("/v1/customers").status_code for _ in range(20)]

    first = statuses()
    assert set(first) == {200, 500}
    assert statuses() == first


def test_an_unknown_fault_is_refused_with_those_that_are_known(http: Http) -> None:
    answer = http.request("POST", "/_sandbox/faults", json={"kind": "nonsense"})
    assert answer.status_code == 400
    assert "lock_timeout" in answer.json()["error"]


def test_a_rate_limit_answers_429_beyond_it(http: Http, sandbox: Sandbox) -> None:
    http.control("rate_limit", per_second=3)
    statuses = [http.get("/v1/customers").status_code for _ in range(6)]
    assert statuses.count(200) >= 3
    assert 429 in statuses
    http.control("rate_limit")
    assert http.get("/v1/customers").status_code == 200


def test_a_rate_limit_counts_any_second_and_each_operation() -> None:
    limit = RateLimit(per_second=3, per_endpoint=2)
    answers = [
        limit.refusal(endpoint, at) for endpoint, at in (("a", 0.0), ("a", 0.5), ("a", 0.9), ("b", 0.9), ("b", 0.95))
    ]
    reasons = [dict(answer.headers).get("Stripe-Rate-Limited-Reason") if answer else None for answer in answers]
    assert reasons == [None, None, "endpoint-rate", None, "global-rate"]
    assert limit.refusal("a", 1.01) is None


def test_the_request_log_tells_what_was_asked(http: Http) -> None:
    made = http.post("/v1/customers", {"name": "A"}).json()["id"]
    http.get(f"/v1/customers/{made}")
    http.get("/v1/nothing")
    log = http.request("GET", "/_sandbox/requests").json()
    assert log["total"] == 3
    assert log["by_endpoint"] == {
        "POST /v1/customers": 1,
        "GET /v1/customers/{customer}": 1,
        "GET (unknown)": 1,
    }
    newest = log["requests"][-1]
    assert (newest["method"], newest["path"], newest["status"]) == ("GET", "/v1/nothing", 404)
    assert newest["key_last4"] == "dbox"
    http.control("requests/reset")
    assert http.request("GET", "/_sandbox/requests").json()["total"] == 0


def test_the_truth_has_what_lists_hide(http: Http) -> None:
    made = http.post("/v1/customers", {"name": "A"}).json()
    lines = http.request("GET", "/_sandbox/truth?types=customer,cash_balance").iter_lines()
    truth = [json.loads(line) for line in lines]
    assert {row["object"] for row in truth} == {"customer", "cash_balance"}
    assert next(row["data"] for row in truth if row["object"] == "customer") == made


def test_the_truth_of_a_large_account_is_streamed(make_sandbox: Callable[..., Sandbox], connect: Any) -> None:
    http = connect(make_sandbox(bulk={"customer": 5000}))
    answer = http.request("GET", "/_sandbox/truth?types=customer", stream=True)
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert sum(1 for _ in answer.iter_lines()) == 5000


def test_every_object_that_lists_show_is_in_the_truth_as_they_show_it(full: Http) -> None:
    lines = full.request("GET", "/_sandbox/truth").iter_lines()
    truth = {(row["object"], row["key"]): row["data"] for row in map(json.loads, lines)}
    for path in ("/v1/charges", "/v1/invoices", "/v1/coupons", "/v1/events", "/v1/products"):
        for item in full.pages(path, {"limit": 100}):
            assert truth[item["object"], item["id"]] == item


def test_an_object_vanishes_or_changes_without_an_event(http: Http) -> None:
    one, two = (http.post("/v1/customers", {"name": name}).json()["id"] for name in "AB")
    http.control("vanish", object="customer", id=one)
    http.control("change", object="customer", id=two, values={"name": "C"})
    assert [(c["id"], c["name"]) for c in http.get("/v1/customers").json()["data"]] == [(two, "C")]
    assert [e["type"] for e in http.get("/v1/events").json()["data"]] == ["customer.created"] * 2


def test_events_can_be_late_and_of_an_older_version(http: Http) -> None:
    http.control("events", delay_seconds=60, api_version="2024-06-20")
    http.post("/v1/customers", {"name": "A"})
    assert http.get("/v1/events").json()["data"] == []
    http.control("clock", advance=60)
    late = http.get("/v1/events").json()["data"][0]
    assert (late["api_version"], late["type"]) == ("2024-06-20", "customer.created")


def test_products_can_be_taken_away_and_given_back(http: Http) -> None:
    http.control("products", missing=["issuing"])
    assert http.get("/v1/issuing/cards").status_code == 400
    http.control("products", missing=[])
    assert http.get("/v1/issuing/cards").status_code == 200


def test_latency_is_added_to_every_answer(http: Http) -> None:
    http.control("latency", ms=150)
    assert http.get("/v1/customers").elapsed.total_seconds() >= 0.15
