"""JSON as text, in every spelling, for property tests: what `json` reads in it is what has to be stored.

The texts hold what a tap may send and Postgres may not like: escapes of U+0000 and of halves of surrogate pairs,
numbers of any size and spelling, keys twice in one object, white space, the letters that COPY gives a meaning to.
"""

import json
from decimal import Decimal, InvalidOperation

from hypothesis import strategies as st

U = "\ufffd"
WHITE = st.sampled_from(["", "", "", " ", "\t", "\r", "  "])

# Pieces of a string as JSON spells it.
PIECES = st.one_of(
    st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cc", "Cs"]), max_size=6),
    st.sampled_from([
        "\\u0000", "\\\\u0000", "\\\\\\u0000", "\\ud800", "\\uDFFF", "\\ud83d\\ude00", "\\ud83d", "\\ude00\\ud83d",
        "\\\\ud800", "\\n", "\\r", "\\t", "\\b", "\\\\", '\\"', "\\/", "\\u001f", "\\u007f", "\\\\N", "\\\\.", "N",
        "NULL", "null", "'", "%s", "$$", "\u2028", "\x7f", "\U0001f600", "e\u0301", "\ufeff", "\uffff",
    ]),
)  # fmt: skip
STRINGS = st.lists(PIECES, max_size=4).map(lambda pieces: f'"{"".join(pieces)}"')

INTEGERS = st.one_of(
    st.integers(-(10**4), 10**4),
    st.integers(-(2**65), 2**65),
    st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30]),
).map(str)
FRACTIONS = st.from_regex(r"-?(0|[1-9][0-9]{0,20})\.[0-9]{1,20}", fullmatch=True)
WITH_EXPONENT = st.builds(
    "{}{}{}".format,
    INTEGERS | FRACTIONS,
    st.sampled_from(["e", "E", "e+", "E-", "e-"]),
    st.sampled_from([0, 1, 2, 7, 12, 30, 308, 400, 5000]),
)
ABSURD_NUMBERS = st.sampled_from([
    "-0", "-0.0", "0e0", "1" * 400, "9" * 5000, "1e16383", "1e-16383", "1e-16384", "1e131071", "1e131072", "-1e200000",
    "1e-200000", "1e999999999", "1e-999999999", "1e99999999999999999999", "1." + "0" * 20000 + "1",
])  # fmt: skip
NUMBERS = INTEGERS | FRACTIONS | WITH_EXPONENT | ABSURD_NUMBERS
SCALARS = st.sampled_from(["null", "true", "false"]) | STRINGS | NUMBERS


def arrays(inner):
    """An array of some of these texts."""
    return st.builds(
        lambda found, white: f"[{white}{(white + ',').join(found)}{white}]", st.lists(inner, max_size=4), WHITE
    )


def objects(inner):
    """An object of some of these texts, whose keys may occur twice."""
    members = st.builds("{}{}:{}".format, STRINGS, WHITE, inner)
    return st.builds(
        lambda found, white: f"{{{white}{(',' + white).join(found)}}}", st.lists(members, max_size=4), WHITE
    )


ANY = st.recursive(SCALARS, lambda inner: arrays(inner) | objects(inner), max_leaves=10)


def read(text):
    """The value of a JSON text as it is to be stored, with numbers as exact as they are written."""
    return storable(json.loads(text, parse_int=exact, parse_float=exact))


def read_bytes(found):
    """The same of what Postgres sends."""
    return read(found if isinstance(found, str) else bytes(found).decode())


def exact(text):
    """A number; what is beyond `Decimal` is beyond Postgres too."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def storable(value):
    """A JSON value with U+FFFD for what Postgres takes in no text."""
    match value:
        case str():
            return "".join(U if each == "\0" or "\ud800" <= each <= "\udfff" else each for each in value)
        case list():
            return [storable(each) for each in value]
        case dict():
            return {storable(key): storable(each) for key, each in value.items()}
    return value


def identity(value):
    """Something that is equal for equal JSON values only; to Python, `true` is 1."""
    match value:
        case bool():
            return str(value)
        case list():
            return [identity(each) for each in value]
        case dict():
            return {key: identity(each) for key, each in value.items()}
    return value
