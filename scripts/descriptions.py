"""What tables and columns are, as text: the rules that make descriptions of shapes, and of words where there are some.

A description is a few short sentences: what it is (`stripe_words`), in which form it comes (amount, time, reference,
JSON), and the values or keys known in the API version that the schemas are of. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import stripe_words as words
from stripe_library import Shape

LISTED_CHARACTERS_MAX = 100
"""How much room a list of values or keys may take: descriptions go through the pipe at the start of each run."""

EXTRA = "What Stripe sent and no other column holds: fields newer than this schema, values that do not fit their column"

_FORMS = {
    "string": "Text as Stripe sends it",
    "boolean": "True or false, as Stripe sends it",
    "integer": "Whole number as Stripe sends it",
    "number": "Number as Stripe sends it",
}
_FORMATS = {
    "unix-time": "Stripe sends it as unix time in seconds",
    "unix-time-ms": "Stripe sends it as unix time in milliseconds",
    "currency": "Three-letter code in lower case",
    "decimal": "Exact number, which Stripe sends as text",
}
_JSON = frozenset({"object", "map", "array", "any", "ref", "union", "expandable"})


def area_of(name: str) -> str:
    """The area of the product that an object type belongs to.

    Raises:
        SystemExit: Nobody has said so.
    """
    for area, tables in words.TABLES.items():
        if name in tables:
            return area
    msg = f"{name}: say in stripe_words.py what it is, and to which area it belongs"
    raise SystemExit(msg)


def of_table(name: str) -> str:
    """What an object type is."""
    what = words.TABLES[area_of(name)][name]
    return f"{what[0].upper()}{what[1:]}. Stripe's object {name}."


def of_column(name: str, field: str, shape: Shape, *, references: Sequence[str] = (), currency: str = "") -> str:
    """What the column of a field is.

    Args:
        name: The object type.
        field: The field.
        shape: Its shape.
        references: The tables whose ids it holds.
        currency: Where the currency of an amount is.
    """
    if field == "object":
        return sentences(f"{words.FIELDS[field]}: always {name}")
    what = words.FIELDS.get(f"{name}.{field}", words.FIELDS.get(field, ""))
    return sentences(what, _form(shape, what, references, currency), _known(shape, references))


def of_parent(references: Sequence[str], *, alone: bool) -> str:
    """What a column is that holds the id of a row's parent.

    Args:
        references: The parent's table.
        alone: Whether all rows have a parent of this type.
    """
    return sentences(f"The row that this one belongs to{'' if alone else ', if it is one of these'}", refer(references))


def of_account_key() -> str:
    """What a key is that an object without an id has of the account that was read."""
    return sentences("The account that was read", f"{refer(['account'])}, or is self if the key may not read that")


def unused(names: Iterable[tuple[str, str]]) -> list[str]:
    """The words that are said of no field or type.

    Args:
        names: All types and their fields.
    """
    known = {part for name, field in names for part in (field, f"{name}.{field}")}
    types = {name for name, _ in names}
    said = {name for tables in words.TABLES.values() for name in tables}
    return sorted((words.FIELDS.keys() - known) | (said - types))


def sentences(*parts: str) -> str:
    """Parts as sentences, the empty ones left out."""
    return " ".join(part if part.endswith("…") else f"{part}." for part in parts if part)


def listed(names: Iterable[Any]) -> str:
    """Names with commas, as many as there is room for."""
    text = ""
    for each in map(str, names):
        if len(text) + len(each) > LISTED_CHARACTERS_MAX:
            return f"{text}, …"
        text += f", {each}" if text else each
    return text


def refer(tables: Sequence[str]) -> str:
    """Whose ids a column holds: ``References card.id or source.id``."""
    ids = [f"{table}.id" for table in tables]
    return "References " + (ids[0] if len(ids) == 1 else f"{', '.join(ids[:-1])} or {ids[-1]}")


def _form(shape: Shape, what: str, references: Sequence[str], currency: str) -> str:
    """In which form a value comes; empty if that goes without saying, given what it is."""
    kind, form = shape["type"], shape.get("format")
    if references:
        text = refer(references)
    elif currency:
        exact = "; exact, Stripe sends it as text" if form == "decimal" else ""
        text = f"In the smallest unit (cents, yen) of {currency}{exact}"
    elif form is not None:
        text = _FORMATS[form]
    elif kind in _JSON:
        text = f"JSON as Stripe sends it{_inside(shape)}"
    else:
        text = "" if what else _FORMS[kind]
    return text


def _inside(shape: Shape) -> str:
    """What is within a JSON value."""
    if fields := shape.get("fields"):
        return f", with {listed(fields)}"
    if shape["type"] == "array" and shape["items"]["type"] == "expandable":
        return f": a list of ids of {listed(name.replace('.', '_') for name in shape['items']['objects'])}"
    return ": a list" if shape["type"] == "array" else ""


def _known(shape: Shape, references: Sequence[str]) -> str:
    """The values that are known, which may grow."""
    values = shape.get("enum") if shape["type"] == "string" and not references else None
    return f"Known values: {listed(values)}" if values else ""
