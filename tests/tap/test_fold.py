"""The fold of events, without a network: what new ones say about an object, and a model of what that is good for."""

import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tap_stripe_events.fold import Announcement, Folded, Lookback


def event(
    name: str,
    created: int,
    *,
    of: str = "cus_1",
    changed: Iterable[str] | None = (),
    state: int | None = None,
    what: str = "updated",
) -> Announcement:
    return Announcement(
        id=f"evt_{name}",
        type=f"customer.{what}",
        created=created,
        version="v",
        identity=("customer", of),
        json={"id": of, "state": state},
        changed=None if changed is None else frozenset(changed),
    )


def read(lookback: Lookback, *shown: Announcement) -> dict[str, Folded]:
    """Read a stretch of the feed as a poll does, newest first; return what is new by object."""
    listed = sorted(shown, key=lambda each: -each.created)
    new = [each for each in listed if lookback.is_new(each.id)]
    folded = lookback.fold(new, [each.id for each in listed])
    for each in listed:
        lookback.note(each.id, each.created)
    return {each.newest.identity[1]: each for each in folded}


def test_of_several_events_of_an_object_the_newest_speaks() -> None:
    found = read(Lookback(), event("c", 12), event("a", 10), event("b", 11))
    assert found["cus_1"].newest.id == "evt_c"
    assert not found["cus_1"].tied
    assert found["cus_1"].since == 10


def test_each_object_has_its_own_newest_event() -> None:
    found = read(Lookback(), event("a", 10), event("b", 11, of="cus_2"), event("c", 12), event("d", 9, of="cus_2"))
    assert {of: each.newest.id for of, each in found.items()} == {"cus_1": "evt_c", "cus_2": "evt_b"}


def test_objects_of_two_types_with_one_id_are_two_objects() -> None:
    plan, price = event("a", 10), event("b", 10)
    plan = Announcement(**{**{each: getattr(plan, each) for each in plan.__slots__}, "identity": ("plan", "cus_1")})
    folded = Lookback().fold([plan, price], [plan.id, price.id])
    assert [each.tied for each in folded] == [False, False]


def test_an_event_is_new_once() -> None:
    lookback = Lookback()
    assert read(lookback, event("a", 10))
    assert not read(lookback, event("a", 10))


def test_an_event_that_shows_after_a_newer_one_is_late() -> None:
    lookback = Lookback()
    read(lookback, event("b", 11))
    found = read(lookback, event("b", 11), event("a", 10))["cus_1"]
    assert (found.late, found.tied, found.newest.id) == (True, False, "evt_a")


def test_a_late_event_does_not_make_a_later_one_late() -> None:
    lookback = Lookback()
    read(lookback, event("b", 11))
    read(lookback, event("b", 11), event("a", 10))
    found = read(lookback, event("c", 12), event("b", 11), event("a", 10))["cus_1"]
    assert (found.late, found.tied) == (False, False)


def test_two_events_of_a_second_are_tied_and_the_first_in_the_list_is_shown() -> None:
    found = read(Lookback(), event("b", 10), event("a", 10))["cus_1"]
    assert (found.tied, found.first, found.newest.id) == (True, True, "evt_b")


def test_a_tie_below_the_newest_second_is_none() -> None:
    assert not read(Lookback(), event("c", 11), event("b", 10), event("a", 10))["cus_1"].tied


def test_an_event_is_tied_with_one_that_an_earlier_poll_read() -> None:
    lookback = Lookback()
    read(lookback, event("a", 10))
    found = read(lookback, event("b", 10), event("a", 10))["cus_1"]
    assert (found.tied, found.first, found.late) == (True, True, False)


def test_what_is_listed_after_an_event_that_was_read_is_not_first() -> None:
    lookback = Lookback()
    read(lookback, event("a", 10))
    found = read(lookback, event("a", 10), event("b", 10))["cus_1"]
    assert (found.tied, found.first) == (True, False)


def test_a_creation_is_the_oldest_event_of_its_second_and_a_deletion_the_newest_wherever_they_are_listed() -> None:
    creation, update, deletion = (event(each, 10, what=each) for each in ("created", "updated", "deleted"))
    for shown in itertools.permutations([creation, update, deletion]):
        assert read(Lookback(), *shown)["cus_1"].newest is deletion
    for older, newer in itertools.combinations([creation, update, deletion], 2):
        for shown in ([older, newer], [newer, older]):
            assert read(Lookback(), *shown)["cus_1"].newest is newer
            for known in (older, newer):
                lookback = Lookback()
                read(lookback, known)
                assert read(lookback, *shown)["cus_1"].first is (known is older)
    assert read(Lookback(), event("c", 9), creation)["cus_1"].newest is creation


def test_the_first_in_the_list_stays_known_when_others_of_its_second_show() -> None:
    lookback = Lookback()
    a, b, c = event("a", 10), event("b", 10), event("c", 10)
    read(lookback, b)
    assert read(lookback, a, b)["cus_1"].first  # now `a` is what others are compared with
    assert not read(lookback, a, c, b)["cus_1"].first


def test_what_changed_is_summed_up_unless_one_event_does_not_say() -> None:
    found = read(Lookback(), event("a", 10, changed=["name"]), event("b", 11, changed=["balance"]))
    assert found["cus_1"].changed == {"name", "balance"}
    found = read(Lookback(), event("a", 10, changed=None), event("b", 11, changed=["balance"]))
    assert found["cus_1"].changed is None


def test_what_is_forgotten_is_new_again_and_ties_with_nothing() -> None:
    lookback = Lookback()
    read(lookback, event("a", 10), event("b", 20, of="cus_2"))
    lookback.forget(20)
    assert len(lookback) == 1
    assert lookback.second_of(("customer", "cus_1")) is None
    assert lookback.second_of(("customer", "cus_2")) == 20
    found = read(lookback, event("a", 10))["cus_1"]
    assert (found.late, found.tied) == (False, False)


def test_what_was_read_of_a_busy_object_is_remembered_by_its_newest_event() -> None:
    lookback = Lookback()
    read(lookback, event("a", 10), event("b", 20))
    lookback.forget(15)
    assert lookback.second_of(("customer", "cus_1")) == 20
    assert read(lookback, event("c", 18))["cus_1"].late


# A model: histories of a few busy objects, in milliseconds. Events show up to a minute late; polls come when they come.
# What a poll makes of an object is written with an as-of, and what is older than what is there is not written.

LOOKBACK_SECONDS = 60


@dataclass
class Shown:
    """An event, when it shows, and its place among those of its second."""

    event: Announcement
    from_: int
    place: float


@dataclass
class Account:
    """The truth, and what a reader of the feed has written of it."""

    rng: random.Random
    retrievable: bool
    truth: dict[str, int] = field(default_factory=dict)
    feed: list[Shown] = field(default_factory=list)
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)  # object → as-of in milliseconds, state
    lookback: Lookback = field(default_factory=Lookback)
    as_of: int = 0
    quiet: bool = False

    def change(self, now: int) -> None:
        of, state = f"cus_{self.rng.randrange(3)}", len(self.feed) + 1
        self.truth[of] = state
        late = self.rng.choice([0, 0, 0, 300, 2_000, 59_000])
        # What can be retrieved may be listed in any order within a second; what cannot is listed in the right one.
        place = self.rng.random() if self.retrievable else -float(state)
        self.feed.append(Shown(event(str(state), now // 1000, of=of, state=state), now + late, place))

    def poll(self, now: int, *, whole: bool) -> int:
        """Read the feed; return when that has ended."""
        start = self.as_of - LOOKBACK_SECONDS
        self.lookback.forget(start)
        listed = [each for each in self.feed if each.from_ <= now and each.event.created >= start]
        listed.sort(key=lambda each: (-each.event.created, each.place))
        page = 3
        shown: list[Announcement] = []
        new: list[Announcement] = []
        while batch := [each.event for each in listed[len(shown) : len(shown) + page]]:
            news = [each for each in batch if self.lookback.is_new(each.id)]
            shown, new = shown + batch, new + news
            if not whole and not news:
                break
        folded = self.lookback.fold(new, [each.id for each in shown])
        for each in shown:
            self.lookback.note(each.id, each.created)
        end = now
        for each in folded:
            end = self.react(each, end)
        if whole or len(shown) == len(listed):
            self.as_of = now // 1000
        return end

    def react(self, folded: Folded, now: int) -> int:
        of, as_of = folded.newest.identity[1], folded.newest.created * 1000 + 999
        if folded.late:
            return now
        if folded.tied and self.retrievable:
            while not self.quiet and self.rng.random() < 0.3:  # the world does not stand still meanwhile
                now += self.rng.randrange(400)
                self.change(now)
            self.write(of, max(now // 1000 * 1000, as_of), self.truth[of])
        elif folded.first:
            self.write(of, as_of, int(folded.newest.json["state"]))
        return now

    def write(self, of: str, as_of: int, state: int) -> None:
        if of not in self.rows or self.rows[of][0] <= as_of:
            self.rows[of] = (as_of, state)


def play(seed: int, steps: int, *, retrievable: bool) -> Account:
    rng = random.Random(seed)
    account, now = Account(rng, retrievable), 1_000_000
    account.as_of = now // 1000
    page: tuple[int, dict[str, int]] | None = None  # a list that is read, and written later
    for _ in range(steps):
        now += rng.choice([0, 5, 90, 400, 1_000, 20_000])
        match rng.random():
            case chance if chance < 0.6:
                account.change(now)
            case chance if chance < 0.9:
                now = account.poll(now, whole=rng.random() < 0.4)
            case _ if page is None:
                page = (now // 1000 * 1000, dict(account.truth))
            case _:
                for of, state in page[1].items():
                    account.write(of, page[0], state)
                page = None
    account.quiet = True
    account.poll(now + 60_000, whole=True)
    return account


@settings(max_examples=400)
@given(seed=st.integers(0, 10**9), steps=st.integers(2, 120), retrievable=st.booleans())
@example(seed=0, steps=120, retrievable=True)
def test_after_quiet_every_object_is_as_its_last_change_left_it(seed: int, steps: int, retrievable: bool) -> None:
    account = play(seed, steps, retrievable=retrievable)
    assert {of: state for of, (_, state) in account.rows.items()} == account.truth


def test_the_model_knows_ties_late_events_and_short_polls() -> None:
    """What the model proves is worth nothing if such things do not happen in it."""
    played = [play(seed, 120, retrievable=True) for seed in range(20)]
    late = sum(each.from_ - each.event.created * 1000 > 2000 for account in played for each in account.feed)
    seconds = [(each.event.identity, each.event.created) for account in played for each in account.feed]
    assert late > 50
    assert len(seconds) - len(set(seconds)) > 50
