"""Which request is next: first come, first served, but for endpoints that would be late at the end."""

from collections import Counter
from collections.abc import Collection
from math import inf

from hypothesis import example, given
from hypothesis import strategies as st

from tap_stripe_events.client import Request
from tap_stripe_events.request_queue import RequestQueue


def request(endpoint: str, number: int = 0) -> Request:
    return Request(path=f"/{endpoint}/{number}", endpoint=endpoint)


def queue(endpoints: str) -> RequestQueue:
    return RequestQueue(request(endpoint, number) for number, endpoint in enumerate(endpoints))


def next_endpoint(waiting: RequestQueue, share: float, blocked: Collection[str] = ()) -> str | None:
    return next((each for each in waiting.in_turn(share) if each not in blocked), None)


def order(waiting: RequestQueue, share: float = 1.0, blocked: str = "") -> str:
    found = ""
    while endpoint := next_endpoint(waiting, share, blocked):
        found += waiting.take(endpoint).endpoint
    return found


def test_who_came_first_is_first() -> None:
    assert order(queue("abcabca")) == "abcabca"


def test_what_is_put_before_all_others_is_first() -> None:
    waiting = queue("ab")
    waiting.appendleft(request("c"))
    waiting.append(request("a"))
    waiting.appendleft(request("b"))
    assert order(waiting) == "bcaba"


def test_who_must_wait_holds_up_nobody() -> None:
    waiting = queue("aabab")
    assert order(waiting, blocked="a") == "bb"
    assert [each.path for each in waiting] == ["/a/0", "/a/1", "/a/3"]
    assert len(waiting) == 3


def test_an_endpoint_that_would_be_late_at_the_end_goes_first() -> None:
    assert order(queue("abcdeeeeee"), share=0.5) == "eeaebecede"  # while it is more than half of what waits


def test_of_an_endpoints_requests_the_one_with_most_to_follow_goes_first() -> None:
    waiting = queue("a")
    waiting.append(request("a", 1), to_follow=3.5)
    waiting.append(request("b", 2))
    waiting.append(request("a", 3), to_follow=inf)
    waiting.append(request("a", 4), to_follow=3.5)
    taken = [waiting.take(endpoint).path for _ in range(5) if (endpoint := next_endpoint(waiting, 1.0))]
    assert taken == ["/b/2", "/a/3", "/a/1", "/a/4", "/a/0"]


def test_what_is_taken_out_is_told_and_the_rest_keeps_its_order() -> None:
    waiting = queue("abcab")
    waiting.appendleft(request("c", 9))
    removed = waiting.remove(lambda each: each.endpoint == "c")
    assert [each.path for each in removed] == ["/c/9", "/c/2"]
    assert (len(waiting), order(waiting)) == (4, "abab")
    assert not waiting


def send_for_a_second(waiting: RequestQueue, *, in_all: int, each: int, share: float) -> list[str]:
    """Take out what limits let through in a second; return the endpoints."""
    sent: list[str] = []
    blocked: set[str] = set()
    while len(sent) < in_all and (endpoint := next_endpoint(waiting, share, blocked)):
        if sent.count(endpoint) < each:
            sent.append(waiting.take(endpoint).endpoint)
        else:
            blocked.add(endpoint)
    return sent


def seconds(endpoints: list[str], *, in_all: int, each: int, share: float) -> int:
    """Return how many seconds a queue takes at limits."""
    waiting, passed = RequestQueue(map(request, endpoints)), 0
    while waiting:
        send_for_a_second(waiting, in_all=in_all, each=each, share=share)
        passed += 1
    return passed


@given(st.lists(st.sampled_from("aaaabcdefgh"), max_size=300))
def test_no_order_is_faster_by_more_than_a_second(endpoints: list[str]) -> None:
    most = max(Counter(endpoints).values(), default=0)
    at_best = max(-(-len(endpoints) // 20), -(-most // 5))
    assert seconds(endpoints, in_all=20, each=5, share=5 / 20) <= at_best + 1


def test_first_come_first_served_alone_would_be_slower() -> None:
    endpoints = list("bcdefghi" * 10 + "a" * 25)
    assert seconds(endpoints, in_all=20, each=5, share=1.0) == 9
    assert seconds(endpoints, in_all=20, each=5, share=5 / 20) == 6  # 105 requests


def test_nobody_waits_for_ever_behind_those_who_go_first() -> None:
    waiting = queue("abc" * 100 + "z")  # three endpoints, each with more than a quarter of what waits
    assert "z" in send_for_a_second(waiting, in_all=20, each=5, share=5 / 20)


def test_endpoints_that_would_be_late_together_go_first() -> None:
    # A quarter of the budget each: neither of three has more than a quarter of 100, and all have more than three.
    waiting = RequestQueue()
    for endpoint, left in {"a": 24.0, "z": 2.0, "b": 26.0, "y": 22.0, "c": 26.0}.items():
        waiting.append(request(endpoint))
        waiting.expect(endpoint, left)
    assert waiting.in_turn(0.25) == ["a", "b", "c", "z", "y"]
    waiting.expect("z", 8.0)  # three have less than three quarters of 106
    assert waiting.in_turn(0.25) == ["a", "z", "b", "y", "c"]


def test_what_is_under_way_counts_until_it_is_taken_back() -> None:
    waiting = queue("ab")
    waiting.expect("c", 4)  # nothing of it waits
    waiting.expect("b", 4)
    assert waiting.in_turn(0.5) == ["a", "b"]
    waiting.expect("c", 0)
    assert waiting.in_turn(0.5) == ["b", "a"]


def test_of_what_there_is_no_telling_how_long_it_takes_goes_first() -> None:
    waiting = queue("abc")
    waiting.expect("c", inf)
    waiting.expect("a", 50)
    assert waiting.in_turn(0.9) == ["a", "c", "b"]
    waiting.expect("a", 1)
    waiting.expect("b", 1)
    assert waiting.in_turn(0.9) == ["c", "a", "b"]


@example([600, 600, 600, 480, 360])  # by turns, three of them would be alone at the end
@given(st.lists(st.integers(1, 600), min_size=1, max_size=10))
def test_chains_of_any_lengths_end_as_soon_as_limits_let_them(lengths: list[int]) -> None:
    """Each endpoint has some chains, as a list has windows, of each of which one request waits at a time."""
    left = {f"e{number}": length for number, length in enumerate(lengths)}
    waiting, passed = RequestQueue(), 0
    while left:
        for endpoint, length in left.items():
            for number in range(min(5, length)):
                waiting.append(request(endpoint, number))
            waiting.expect(endpoint, length)
        for endpoint in send_for_a_second(waiting, in_all=20, each=5, share=5 / 20):
            left[endpoint] -= 1
        for endpoint in [each for each, length in left.items() if not length]:
            del left[endpoint]
            waiting.expect(endpoint, 0)
        waiting.remove(lambda _: True)
        passed += 1
    at_best = max(-(-sum(lengths) // 20), -(-max(lengths) // 5))
    assert passed <= at_best + 2
