"""From an answer's bytes to what is in it: a page of a list straight into structs, anything else into dicts.

A struct knows the fields of its type's schema, and those that Stripe was seen to send besides. A page that does not
fit, since a field is new or has a value that its column does not take, is decoded as dicts; a new field fits from then
on.
"""

import codecs
import json
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from tap_stripe_events.changes import shape_of
from tap_stripe_events.shapes import Sent

_MOST_UNKNOWN = 100  # fields of one type that no schema knows; a page with more of them is decoded as dicts

_PIECE_BYTES = 32_768

_Element = TypeVar("_Element", bound=Sent)


class Page(msgspec.Struct, Generic[_Element], gc=False):
    """A page of a list of objects of one type.

    Attributes:
        data: The objects.
        has_more: Whether there are more, if Stripe says so.
    """

    object: Literal["list"]
    data: list[_Element]
    has_more: bool | UnsetType = UNSET


class Bodies:
    """Decodes the bodies of answers. Several threads may use one: what it learns is replaced as a whole."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(float_hook=Decimal).decode
        self._decoders: dict[str, msgspec.json.Decoder[Page[Any]]] = {}
        self._unknown: dict[str, frozenset[str]] = {}

    def decoded(self, content: bytes, element: str | None = None) -> Any:
        """Return what is in a body; None if it is no JSON.

        Args:
            content: The body, without line breaks if there is an element: parts of it become parts of lines.
            element: The type of the elements, if a list of one type is expected.

        Returns:
            A `Page` if there is an element and the body fits, otherwise plain values. Floats are `Decimal`.
        """
        if element is None:
            return self._plain(content)
        try:
            _check_text(content)
            return self._decoder(element).decode(content)
        except msgspec.ValidationError:
            body = self._plain(content)
            self._learn(element, body)
            return body
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._plain(content)

    def _decoder(self, element: str) -> "msgspec.json.Decoder[Page[Any]]":
        decoder = self._decoders.get(element)
        if decoder is None:
            shape = shape_of(element, self._unknown.get(element, frozenset()))
            decoder = msgspec.json.Decoder(Page[shape.sent], float_hook=Decimal)  # type: ignore[name-defined]
            self._decoders[element] = decoder
        return decoder

    def _learn(self, element: str, body: Any) -> None:
        """Take in which fields there are that the schema does not know."""
        found = body.get("data") if isinstance(body, dict) else None
        objects = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
        known = self._unknown.get(element, frozenset())
        unknown = known | shape_of(element).unknown_of(objects)
        if unknown != known and len(unknown) <= _MOST_UNKNOWN:
            self._unknown[element] = unknown
            self._decoders.pop(element, None)

    def _plain(self, content: bytes) -> Any:
        try:
            return self._decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        try:  # Lone surrogates, which JSON may hold and UTF-8 may not.
            text = content.decode("utf-8", errors="replace")
            return _without_surrogates(json.loads(text, parse_float=Decimal))
        except ValueError:
            return None


def on_one_line(content: bytes) -> bytes:
    """Return JSON without line breaks or spaces between its tokens; as it is if it is no JSON."""
    if b"\n" not in content and b"\r" not in content:
        return content
    try:
        return msgspec.json.format(content, indent=-1)
    except msgspec.DecodeError:
        return content


def _check_text(content: bytes) -> None:
    """Make sure that all is UTF-8, also what the decoder does not look into.

    In pieces, since the text of a whole page would be made only to be thrown away, which costs ten times as much.

    Raises:
        UnicodeDecodeError: It is not.
    """
    if content.isascii():
        return
    rest = memoryview(content)
    while rest:
        _, checked = codecs.utf_8_decode(rest[:_PIECE_BYTES], "strict", len(rest) <= _PIECE_BYTES)
        rest = rest[checked:]


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
    return value
