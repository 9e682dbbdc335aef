"""Any sequence of changes, cut into any batches, ends as if each had been applied alone by a simple model."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import FILLER, TEXT, activate, at, millis, record, schema, state

LONG_AGO = -1


@dataclass
class Model:
    """The rules of order for one stream, one change at a time; moments are seconds, a gap filler's is 0."""

    hard_delete: bool
    rows: dict = field(default_factory=dict)  # key: (as_of, name, deleted_at)
    versions: dict = field(default_factory=dict)
    tombstones: dict = field(default_factory=dict)
    seen: dict = field(default_factory=dict)  # key: (version, as_of)
    floor: int = LONG_AGO

    def change(self, key, as_of, name, version):
        stored = self.rows.get(key)
        if as_of == 0:
            if name is not None and stored is None and key not in self.tombstones:
                self.write(key, (0, name, None), version)
        elif as_of >= max(
            self.floor_for(stored, name), self.tombstones.get(key, LONG_AGO), self.seen.get(key, (0, LONG_AGO))[1]
        ) and (stored is None or as_of >= stored[0]):
            if name is None:
                self.delete(key, as_of)
            elif stored is None or stored[1:] != (name, None):
                self.write(key, (as_of, name, None), version)
            elif version is None:
                self.rows[key] = (as_of, name, None)
        written = self.versions.get(key) == version and self.rows.get(key, (LONG_AGO,))[0] >= as_of
        if version is not None and not written:
            old = self.seen.get(key, (version, as_of))
            self.seen[key] = (max(version, old[0]), max(as_of, old[1]))

    def floor_for(self, stored, name):
        """A finished sweep is no objection to the delete of what it did not see."""
        unseen = stored is None or stored[0] == 0
        return LONG_AGO if name is None and unseen else self.floor

    def write(self, key, row, version):
        self.rows[key] = row
        if version is not None:
            self.versions[key] = version

    def delete(self, key, as_of):
        if self.hard_delete:
            self.rows.pop(key, None)
            self.versions.pop(key, None)
            self.tombstones[key] = max(as_of, self.tombstones.get(key, LONG_AGO))
        else:
            name = self.rows[key][1] if key in self.rows else None
            self.rows[key] = (as_of, name, as_of)

    def activate(self, start):
        if self.floor < start:
            for key, (as_of, _, deleted_at) in list(self.rows.items()):
                version, sighted = self.seen.get(key, (LONG_AGO, LONG_AGO))
                absent = as_of <= start and self.versions.get(key) != start and version != start and sighted <= start
                if absent and (self.hard_delete or deleted_at is None):
                    self.delete(key, start)
            self.floor = start
        self.seen = {key: (version, as_of) for key, (version, as_of) in self.seen.items() if version > start}


@st.composite
def steps(draw):
    """A sequence of (key, as_of, name, version) and of starts of sweeps that end there."""
    kind = draw(st.sampled_from(["change"] * 8 + ["delete", "delete", "sweep"]))
    if kind == "sweep":
        return draw(st.integers(1, 9))
    version = draw(st.none() | st.integers(1, 9))
    # A sweep reads after its start.
    as_of = draw(st.integers(0, 12)) if version is None else draw(st.integers(version, 12))
    name = None if kind == "delete" and as_of else draw(st.sampled_from("xy"))
    return draw(st.sampled_from("ab")), as_of, name, None if name is None else version


def message(step):
    if isinstance(step, int):
        return activate("c", millis(step))
    key, as_of, name, version = step
    version = None if version is None else millis(version)
    if name is None:
        return record("c", id=key, gone=as_of)
    return record("c", id=key, name=name, as_of=at(as_of) if as_of else FILLER, version=version)


@pytest.mark.usefixtures("each_expectation")
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(steps(), st.booleans()), min_size=1, max_size=14), st.integers(1, 5), st.booleans())
def test_batches_do_not_matter_and_the_rules_of_order_hold(load, connection, sequence, batch_size, hard_delete):
    connection.execute("DROP SCHEMA IF EXISTS stripe CASCADE")
    model = Model(hard_delete=hard_delete)
    messages = [state(), schema("c", name=TEXT)]
    for step, state_follows in sequence:
        if isinstance(step, int):
            model.activate(step)
        else:
            model.change(*step)
        messages += [message(step), state()] if state_follows else [message(step)]
    load(*messages, state(), batch_size_rows=batch_size, hard_delete=hard_delete)
    found = connection.execute(
        """
        SELECT id, greatest(extract(epoch FROM _sdc_as_of)::bigint - %(start)s, 0), name,
            extract(epoch FROM _sdc_deleted_at)::bigint - %(start)s
        FROM stripe.c
        """,
        {"start": millis(0) // 1000},
    ).fetchall()
    assert {key: (as_of, name, deleted_at) for key, as_of, name, deleted_at in found} == model.rows
