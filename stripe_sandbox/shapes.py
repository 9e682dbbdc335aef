"""An object from its shape and a seed: plausible values for every field, in all their awkwardness.

Pure: the same shape, random source and references give the same object. Which objects exist is told by ``references``,
so what is generated points only at ids that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Final

from stripe_sandbox.ids import token
from stripe_sandbox.rendering import ordered

if TYPE_CHECKING:
    from stripe_sandbox.spec import Shape, Spec
    from stripe_sandbox.store import Body

References = Callable[[tuple[str, ...], Random], str | None]
"""Picks the id of an existing object of one of the types, or None if there is none."""

NULL_SHARE: Final = 0.3
AWKWARD_SHARE: Final = 0.2
ABSENT_SHARE: Final = 0.4
MAX_DEPTH: Final = 6
MANY_VARIANTS: Final = 8  # so many hashes beside a free ``type`` are variants, of which one is there
CARD_SHARE: Final = 0.6
_CURRENCIES: Final = ("usd", "eur", "gbp", "jpy", "kwd", "chf", "brl")
_WORDS: Final = ("amber", "basalt", "cedar", "delta", "ember", "fjord", "granite", "harbor", "indigo", "juniper")
_AWKWARD: Final = (
    "Zürich — Straße №5",
    "naïve “quoted” text",
    "日本語のメモ",
    "line one\nline two",
    "tab\tand \\ backslash",
    "🙂☕",
)
_BY_NAME: Final[Mapping[str, Callable[[Random], Any]]] = {
    "city": lambda r: r.choice(("Wien", "São Paulo", "Osaka", "Reykjavík", "Dublin")),
    "country": lambda r: r.choice(("AT", "BR", "JP", "IS", "IE", "US")),
    "cvc": lambda r: f"{r.randrange(1000):03}",
    "description": lambda r: r.choice(_AWKWARD) if r.random() < AWKWARD_SHARE else " ".join(r.sample(_WORDS, 3)),
    "email": lambda r: f"{r.choice(_WORDS)}.{r.randrange(10_000)}@example.com",
    "exp_month": lambda r: r.randint(1, 12),
    "exp_year": lambda r: r.randint(2027, 2034),
    "fingerprint": lambda r: token(r.random(), length=16),
    "last4": lambda r: f"{r.randrange(10_000):04}",
    "line1": lambda r: f"{r.choice(_WORDS).title()} Street {r.randrange(1, 200)}",
    "name": lambda r: (
        r.choice(_AWKWARD) if r.random() < AWKWARD_SHARE else f"{r.choice(_WORDS).title()} {r.randrange(1000)}"
    ),
    "number": lambda r: f"{r.choice(_WORDS)[:4].upper()}-{r.randrange(10_000):04}",
    "phone": lambda r: f"+1555{r.randrange(10_000_000):07}",
    "postal_code": lambda r: f"{r.randrange(100_000):05}",
    "quantity": lambda r: r.randint(1, 40),
    "state": lambda r: r.choice(("Vienna", "SP", "CA")),
}


class Generator:
    """Generates objects at one moment.

    Args:
        references: Where ids of other objects come from.
        now: Unix times lie in the two years before this moment, seconds since the epoch.
        livemode: The mode that objects say they are in.
        cyclic: Types of objects that may not be embedded where they need not be; see ``cyclic_types``.
    """

    def __init__(
        self, references: References, *, now: int, livemode: bool, cyclic: frozenset[str] = frozenset()
    ) -> None:
        self._cyclic = cyclic
        self._references = references
        self._now = now
        self._livemode = livemode

    def body(self, object_type: str, fields: Mapping[str, Shape], random: Random) -> Body:
        """All fields of an object but its embedded lists, ``id`` among them only if it can be any text."""
        body: Body = {"object": object_type, "id": ""}
        for name, shape in fields.items():
            if name in ("object", "id", "deleted") or shape.type == "list":
                continue
            if name == "livemode":
                body[name] = self._livemode
            elif not (shape.optional and random.random() < ABSENT_SHARE):
                body[name] = self._value(name, shape, random, 0)
        self._keep_own_variant(body, fields, random)
        if "id" not in fields:
            del body["id"]
        return ordered(body)

    def _value(self, name: str, shape: Shape, random: Random, depth: int) -> Any:  # noqa: PLR0911 - one per kind
        if shape.nullable and (depth >= MAX_DEPTH or random.random() < NULL_SHARE):
            return {} if _is_map_of_hashes(shape) else None
        match shape.type:
            case "string":
                return self._text(name, shape, random)
            case "integer":
                return self._integer(name, shape, random)
            case "number":
                return random.choice((0.1, 1e-7, 2.5, 19.0, 33.333, random.uniform(0, 100)))
            case "boolean":
                return shape.enum[0] if shape.enum else random.choice((True, False))
            case "object":
                return self._hash(shape, random, depth)
            case "array" if shape.items is not None:
                items = [self._value(name, shape.items, random, depth + 1) for _ in range(random.choice((0, 1, 1, 2)))]
                return [item for item in items if item is not None]
            case "map" if shape.values is not None:
                return {key: self._value(key, shape.values, random, depth + 1) for key in self._keys(random)}
            case "expandable" | "ref" | "union":
                return self._reference(name, shape, random, depth)
        return None

    def _reference(self, name: str, shape: Shape, random: Random, depth: int) -> Any:
        if shape.fields:  # an id, or a hash that no list has
            return random.choice((self._hash(shape, random, depth), token(name, random.random())))
        if shape.nullable and shape.type == "ref" and self._cyclic.issuperset(shape.objects):
            return None
        found = self._references(shape.objects, random)
        return found if found is not None or shape.nullable else token(shape.objects, random.random())

    def _hash(self, shape: Shape, random: Random, depth: int) -> Body:
        body = {
            name: self._value(name, inner, random, depth + 1)
            for name, inner in shape.fields.items()
            if inner.type != "list" and not (inner.optional and random.random() < ABSENT_SHARE)
        }
        self._keep_own_variant(body, shape.fields, random)
        return body

    def _keep_own_variant(self, body: Body, fields: Mapping[str, Shape], random: Random) -> None:
        """Where ``type`` names one of the sibling hashes, the others are null or, if they are many, not there."""
        if "type" not in fields or fields["type"].type != "string":
            return
        hashes = [
            name
            for name, shape in fields.items()
            if shape.type == "object" and (shape.nullable or shape.optional) and name != "billing_details"
        ]
        kinds = [name for name in fields["type"].enum if name in hashes]
        if not fields["type"].enum and len(hashes) >= MANY_VARIANTS:
            kinds = hashes
            body["type"] = "card" if "card" in kinds and random.random() < CARD_SHARE else random.choice(kinds)
        for kind in kinds:
            if kind == body.get("type"):
                continue
            if len(kinds) >= MANY_VARIANTS or not fields[kind].nullable:
                body.pop(kind, None)
            elif kind in body:
                body[kind] = None

    def _text(self, name: str, shape: Shape, random: Random) -> Any:  # noqa: PLR0911 - one per kind
        if shape.enum:
            return random.choice(shape.enum)
        if shape.format == "currency":
            return random.choice(_CURRENCIES)
        if shape.format == "decimal":
            return random.choice(
                ("0", "12.5", "0.000000000001", f"{random.randrange(10**6)}.{random.randrange(10**12):012}")
            )
        if name in _BY_NAME:
            return str(_BY_NAME[name](random))
        if name.endswith(("url", "_link")):
            return f"https://example.com/{random.choice(_WORDS)}/{random.randrange(10_000)}"
        if name.endswith(("secret", "_token")):
            return f"{name}_{token(name, random.random())}"
        return random.choice(_AWKWARD) if random.random() < AWKWARD_SHARE / 2 else "_".join(random.sample(_WORDS, 2))

    def _integer(self, name: str, shape: Shape, random: Random) -> int:
        if shape.enum:
            return int(random.choice(shape.enum))
        if shape.format == "unix-time":
            return self._now - random.randrange(2 * 365 * 86_400)
        if shape.format == "unix-time-ms":
            return (self._now - random.randrange(86_400)) * 1000 + random.randrange(1000)
        if shape.format == "amount":
            return random.choice((0, 1, 999, random.randrange(100_000), random.randrange(10**9)))
        if name in _BY_NAME:
            value = _BY_NAME[name](random)
            return value if isinstance(value, int) else random.randrange(1000)
        return random.randrange(100)

    def _keys(self, random: Random) -> list[str]:
        """Names for a map such as metadata, odd ones too."""
        odd = ("order id", "a.b", 'quo"te', "Key", "key", "ключ")
        return random.sample((*_WORDS, *odd), random.choice((0, 0, 1, 3)))


def cyclic_types(spec: Spec) -> frozenset[str]:
    """The types that always embed, directly or not, an object of their own type: an intent's error its intent."""
    embeds = {name: _embedded(shape.fields.values()) for name, shape in spec.objects.items()}

    def reached(name: str, found: set[str]) -> set[str]:
        for inner in embeds.get(name, set()) - found:
            found.add(inner)
            reached(inner, found)
        return found

    return frozenset(name for name in embeds if name in reached(name, set()))


def _embedded(shapes: Iterable[Shape]) -> set[str]:
    found: set[str] = set()
    for shape in shapes:
        if shape.type in ("ref", "union"):
            found.update(shape.objects)
        inner = [item for item in (shape.items, shape.values) if item is not None]
        found |= _embedded([*shape.fields.values(), *inner]) if inner or shape.fields else set()
    return found


def minimal(fields: Mapping[str, Shape], *, livemode: bool) -> Body:
    """An object with nothing set: null where that is allowed, else the emptiest value of the field's type."""
    body: Body = {}
    for name, shape in fields.items():
        if not shape.optional and shape.type != "list":
            body[name] = livemode if name == "livemode" else _empty(shape)
    return body


def _empty(shape: Shape) -> Any:  # noqa: PLR0911 - one per kind
    if shape.nullable:
        return {} if _is_map_of_hashes(shape) else None
    if shape.enum:
        return shape.enum[0]
    match shape.type:
        case "integer" | "number":
            return 0
        case "boolean":
            return False
        case "object":
            return {name: _empty(inner) for name, inner in shape.fields.items() if not inner.optional}
        case "array":
            return []
        case "map":
            return {}
        case "string":
            return "0" if shape.format == "decimal" else ""
    return None


def _is_map_of_hashes(shape: Shape) -> bool:
    """Such as ``currency_options``: the official Python library cannot read null there, even where Stripe allows it."""
    values = shape.values
    while values is not None and values.type == "array":
        values = values.items
    return shape.type == "map" and values is not None and values.type == "object"
