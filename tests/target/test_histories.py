"""Whatever the order of arrival and the batches: once everything has arrived, the tables are as the world is.

A small world of parents and their children is moved second by second; what a tap would see of it (events, reads,
sweeps, deletes that take children along, stale copies that only fill gaps) is shuffled, doubled and cut into batches.
Not made are two changes of one family in one second: which came last is then only in the order of arrival, and
test_order_model.py has that.
"""

import random
from dataclasses import dataclass, field

import pytest
from messages import FILLER, TEXT, activate, millis, record, schema, state

SECONDS = 12
PARENTS = ("p1", "p2")
CHILDREN = {"p1": ("a", "b"), "p2": ("c",)}
PARENT = schema("customer", name=TEXT)
CHILD = schema("card", customer_id=TEXT, name=TEXT)


def moment(second, milliseconds=0):
    return f"2026-01-01T00:00:{second:02}.{milliseconds:03}Z"


@dataclass(frozen=True)
class World:
    """What is there: names by id; children of a parent that is gone are gone."""

    parents: dict = field(default_factory=dict)
    children: dict = field(default_factory=dict)

    def lists(self, parent):
        return {"card": [child for child in CHILDREN[parent] if child in self.children]}


def history(rng):
    """The world before second 0, after second 0, after second 1, ...; and which family each second changed, and how."""
    worlds, changes = [World()], []
    for _ in range(SECONDS):
        world = worlds[-1]
        parent = rng.choice(PARENTS)
        child = rng.choice(CHILDREN[parent])
        kind = rng.choice(["update", "update", "child", "child", "remove child", "delete", "nothing"])
        parents, children = dict(world.parents), dict(world.children)
        changed = {"parent": parent, "child": None, "kind": kind}
        if kind == "update" or (kind in {"child", "remove child"} and parent not in parents):
            parents[parent] = f"n{rng.randrange(3)}"
            changed["kind"] = "update"
        elif kind == "child":
            children[child] = f"n{rng.randrange(3)}"
            changed["child"] = child
        elif kind == "remove child":
            children.pop(child, None)
            changed["child"] = child
        elif kind == "delete":
            parents.pop(parent, None)
            for each in CHILDREN[parent]:
                children.pop(each, None)
        worlds.append(World(parents, children))
        changes.append(changed)
    return worlds, changes


def parent_record(world, parent, as_of, version=None):
    return record(
        "customer", id=parent, name=world.parents[parent], as_of=as_of, children=world.lists(parent), version=version
    )


def child_record(world, child, as_of, version=None):
    parent = next(each for each in PARENTS if child in CHILDREN[each])
    return record("card", id=child, customer_id=parent, name=world.children[child], as_of=as_of, version=version)


def deleted(stream, key, as_of, children=None):
    body = {"id": key, "_sdc_as_of": as_of, "_sdc_deleted_at": as_of}
    return record(stream, body if children is None else body | {"_sdc_children": children})


def events(world, second, change):
    """What the tap makes of the event of one second: the object, or that it is gone, and what else it tells of."""
    as_of, parent, child = moment(second, 999), change["parent"], change["child"]
    match change["kind"]:
        case "delete":
            yield deleted("customer", parent, as_of, {"card": []})
        case "update":
            yield parent_record(world, parent, as_of)
            yield from (child_record(world, each, as_of) for each in world.lists(parent)["card"])
        case "child":
            yield child_record(world, child, as_of)
        case "remove child":
            # Of some deletes only the parent's list tells.
            yield parent_record(world, parent, as_of) if second % 2 else deleted("card", child, as_of)


def reads(rng, worlds, changes):
    """Reads of single objects; what a request of a second shows may already hold that second's change."""
    for _ in range(rng.randrange(4)):
        second = rng.randrange(SECONDS)
        world = worlds[second + rng.randrange(2)]
        for parent in world.parents:
            yield parent_record(world, parent, moment(second))
        for child in world.children:
            yield child_record(world, child, moment(second))


def fillers(rng, worlds):
    """Copies from any time."""
    for _ in range(rng.randrange(5)):
        world = rng.choice(worlds)
        yield from (record("customer", id=key, name=name, as_of=FILLER) for key, name in world.parents.items())


def sweep(rng, worlds, stream):
    """A sweep: every object of a stream at moments after its start, then its end."""
    start = rng.randrange(SECONDS)
    version = millis(start)
    for key in PARENTS if stream == "customer" else ("a", "b", "c"):
        second = rng.randrange(start, SECONDS)
        world = worlds[second + rng.randrange(2)]
        if stream == "customer" and key in world.parents:
            yield parent_record(world, key, moment(second), version)
        if stream == "card" and key in world.children:
            yield child_record(world, key, moment(second), version)
    yield activate(stream, version)


def shuffled(rng, loose, sequences):
    """The loose messages and the sequences in a random order that keeps that of each sequence."""
    tagged = [(None, message) for message in loose]
    tagged += [(number, None) for number, messages in enumerate(sequences) for _ in messages]
    rng.shuffle(tagged)
    rest = [iter(messages) for messages in sequences]
    return [message if number is None else next(rest[number]) for number, message in tagged]


@pytest.mark.parametrize("hard_delete", [False, True])
@pytest.mark.parametrize("chunk", range(4))
@pytest.mark.usefixtures("each_expectation")
def test_what_has_arrived_in_any_order_ends_as_the_world_is(load, connection, hard_delete, chunk):
    for seed in range(chunk * 25, chunk * 25 + 25):
        connection.execute("DROP SCHEMA IF EXISTS stripe CASCADE")
        rng = random.Random(seed)
        worlds, changes = history(rng)
        loose = [m for second, change in enumerate(changes) for m in events(worlds[second + 1], second, change)]
        loose += rng.choices(loose, k=3) if loose else []
        loose += [*reads(rng, worlds, changes), *fillers(rng, worlds)]
        sequences = [[*sweep(rng, worlds, stream)] for stream in rng.choices(["customer", "card"], k=rng.randrange(3))]
        messages = [state(), PARENT, CHILD]
        for message in shuffled(rng, loose, sequences):
            messages += [message, state()] if rng.random() < 0.3 else [message]
        load(*messages, state(), batch_size_rows=rng.randint(1, 6), hard_delete=hard_delete)
        found = World(
            dict(connection.execute("SELECT id, name FROM stripe.customer WHERE _sdc_deleted_at IS NULL").fetchall()),
            dict(connection.execute("SELECT id, name FROM stripe.card WHERE _sdc_deleted_at IS NULL").fetchall()),
        )
        assert found == worlds[-1], f"seed {seed}"
