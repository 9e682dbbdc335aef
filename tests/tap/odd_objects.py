"""Objects as Stripe makes them, with something odd in them: a field that has become an object, an id, a list, a text,
nothing or a huge number, at any depth. And what the tap makes of them.
"""

import copy
import json
import random
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import strategies as st
from stand_in import StandInStripe

from stripe_sandbox.shapes import Generator
from stripe_sandbox.spec import load_spec
from tap_stripe_events.changes import Change
from tap_stripe_events.gather import Gather, Source
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.units import Cause, Unit

NOW = 1_790_000_000
SOURCE = Source(as_of="2026-11-24T08:00:00Z", secrets=True)
TYPES = sorted(STRIPE_OBJECTS.keys() & load_spec().objects.keys())

odd_texts = st.sampled_from(["", "x", "USD", "cus_1", "\0", "1e5", "NaN", "-", "1_000", " 5", "\u0665", "list"])
odd_numbers = st.sampled_from([
    "0", "-0", "-1", "1.0", "1e2", "0.1", "9223372036854775808", "1" + "0" * 40, "1e400", "-1e-400", "1700000000000",
    "253402300800", "1.70e9", "0." + "3" * 2000
])  # fmt: skip
odd_ids = st.sampled_from(["x_1", "", "a/b", "\0", None, 5, [], {}, {"id": "x_1"}])
odd_types = st.sampled_from([*TYPES, "list", "unknown", "", None, 5, [], {}, ["charge"], {"object": "charge"}])
odd_hashes = st.fixed_dictionaries(
    {},
    optional={
        "id": odd_ids,
        "object": odd_types,
        "deleted": st.sampled_from([True, False, None, "yes"]),
        "data": st.sampled_from(
            [None, [], {}, [None], [5], [{}], [{"id": "x_1"}], [{"id": "x_2", "object": "customer"}]]
        ),
        "has_more": st.sampled_from([True, False, None, "no"]),
        "url": st.sampled_from([None, "/v1/x", 5]),
        "amount": st.integers(-5, 5),
    },
)
odd_values = st.one_of(
    st.none(), st.booleans(), odd_texts, odd_numbers.map(Decimal), odd_hashes, st.lists(odd_hashes, max_size=2),
    st.lists(odd_texts, max_size=2),
)  # fmt: skip


def a_reference(types: Any, rng: random.Random) -> Any:
    """An id, or a whole object."""
    name = rng.choice(list(types))
    return {"id": f"{name}_1", "object": name} if rng.random() < 0.3 else f"{name}_1"


@st.composite
def objects(draw: Any) -> tuple[str, dict[str, Any]]:
    """A type and an object of it, as it would be decoded, with a few odd values."""
    name = draw(st.sampled_from(TYPES))
    seed = draw(st.integers(0, 2**20))
    generator = Generator(a_reference, now=NOW, livemode=False)
    body = generator.body(name, load_spec().fields(name), random.Random(seed))
    if "id" in body:
        body["id"] = f"{name}_{seed}"
    for each in STRIPE_OBJECTS[name].embedded:
        if "." not in each.field and draw(st.booleans()):
            elements = [{"id": f"{child}_{seed}", "object": child} for child in each.objects]
            body[each.field] = {"object": "list", "data": elements, "has_more": draw(st.booleans()), "url": "/v1/x"}
    body = decoded(body)
    for _ in range(draw(st.integers(0, 4))):
        spoil(draw, body)
    return name, body


def decoded(body: dict[str, Any]) -> dict[str, Any]:
    """The same as the client hands it over."""
    return dict(msgspec.json.Decoder(float_hook=Decimal).decode(json.dumps(body)))


def spoil(draw: Any, body: dict[str, Any]) -> None:
    """Replace a value somewhere in it, or add one."""
    place: Any = body
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = draw(st.sampled_from([*keys, "new"] if isinstance(place, dict) else list(keys)))
        inner = place.get(key) if isinstance(place, dict) else place[key]
        if not inner or not isinstance(inner, dict | list) or draw(st.booleans()):
            place[key] = copy.deepcopy(draw(odd_values))  # what is sampled is shared
            return
        place = inner


def changes_of(name: str, body: dict[str, Any], cause: Cause | None = None) -> list[Change]:
    """All that the tap makes of an object."""
    stripe: Any = StandInStripe({})
    gather = Gather(client=stripe, selected=STRIPE_OBJECTS, account_id="acct_1")
    unit = Unit(cause=cause)
    gather.take_object(unit, name, body, SOURCE, gather.own_key(name))
    return list(gather.contents(unit))
