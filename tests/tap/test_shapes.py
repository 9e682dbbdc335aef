"""An object becomes the same record whether it was decoded as a struct or came as a dict."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from fuzzing import examples
from hypothesis import given
from odd_objects import objects

from tap_stripe_events.changes import may_hold_secrets, read
from tap_stripe_events.object_table import STRIPE_OBJECTS
from tap_stripe_events.pages import Bodies, Page, on_one_line
from tap_stripe_events.shapes import Sent

NOW = "2026-09-21T14:13:20Z"
CHARGE = {"id": "ch_1", "object": "charge", "amount": 100, "created": 1_790_000_000, "metadata": {"a": "b"}}
ENCODER = msgspec.json.Encoder(decimal_format="number")


def page_of(*objects: bytes) -> bytes:
    return b'{"object":"list","url":"/v1/charges","has_more":false,"data":[' + b",".join(objects) + b"]}"


def elements(content: bytes, name: str = "charge", bodies: Bodies | None = None) -> list[Any]:
    """The elements of a page as the tap gets them."""
    body = (bodies or Bodies()).decoded(on_one_line(content), name)
    found: list[Any] = body.data if isinstance(body, Page) else body["data"]
    return found


def record_of(each: Any, name: str, *, secrets: bool = False) -> Any:
    """What is written of an object, as a reader of the line sees it; and the rest of what is in it."""
    found = read(each, name, as_of=NOW, secrets=secrets)
    assert found is not None
    line = ENCODER.encode(found.change.record)
    assert b"\n" not in line
    assert b"\r" not in line
    parts = [(each.name, each.json) for each in (*found.copies, *found.dependents)]
    return msgspec.json.Decoder(float_hook=Decimal).decode(line), parts, [value for _, value in found.lists]


@examples(300)
@given(objects())
def test_a_page_and_a_dict_lead_to_the_same_record(found: tuple[str, dict[str, Any]]) -> None:
    name, body = found
    content = page_of(ENCODER.encode(body))
    secrets = may_hold_secrets(content)
    [as_dict] = Bodies().decoded(content)["data"]
    bodies = Bodies()
    for _ in range(2):  # fields that no schema has are known from the second page on
        [each] = elements(content, name, bodies)
        assert record_of(each, name, secrets=secrets) == record_of(as_dict, name, secrets=secrets)


@pytest.mark.parametrize("name", sorted(STRIPE_OBJECTS))
def test_every_type_has_a_shape_that_knows_what_its_schema_names(name: str) -> None:
    [each] = elements(page_of(ENCODER.encode({"object": name, "id": "x_1", "livemode": True})), name)
    record, _, _ = record_of(each, name)
    assert record["object"] == name


ODD_VALUES = [
    ("1.0 in a field of integers", b'"amount": 1.0', {"amount": 1}),
    ("a number in quotes", b'"amount": "5"', {"amount": None, "_extra": {"amount": "5"}}),
    ("a fraction", b'"amount": 1.5', {"amount": None, "_extra": {"amount": Decimal("1.5")}}),
    ("true is no number", b'"amount": true', {"amount": None, "_extra": {"amount": True}}),
    ("the largest bigint", b'"amount": 9223372036854775807', {"amount": 2**63 - 1}),
    ("one more", b'"amount": 9223372036854775808', {"amount": None, "_extra": {"amount": 2**63}}),
    ("a number longer than any", b'"amount": 1' + b"0" * 40, {"amount": None, "_extra": {"amount": 10**40}}),
    ("a long integer inside", b'"metadata": {"n": 1' + b"0" * 40 + b"}", {"metadata": {"n": 10**40}}),
    ("the same key twice", b'"amount": 1, "amount": 2', {"amount": 2}),
    ("the same key twice inside", b'"metadata": {"a": 1, "a": 2}', {"metadata": {"a": 2}}),
    ("text for a time", b'"created": "soon"', {"created": None, "_extra": {"created": "soon"}}),
    ("a time before time", b'"created": -1', {"created": None, "_extra": {"created": -1}}),
    ("the last second", b'"created": 253402300799', {"created": "9999-12-31T23:59:59Z"}),
    ("a time too late", b'"created": 253402300800', {"created": None, "_extra": {"created": 253402300800}}),
    ("upper case", b'"currency": "USD"', {"currency": "usd"}),
    ("an empty currency", b'"currency": ""', {"currency": ""}),
    ("an object for a text", b'"description": {"a": 1}', {"description": None, "_extra": {"description": {"a": 1}}}),
    ("a whole customer", b'"customer": {"id": "cus_1", "object": "customer"}', {"customer_id": "cus_1"}),
    ("an unknown field", b'"brand_new": {"a": [1.50]}', {"_extra": {"brand_new": {"a": [Decimal("1.50")]}}}),
    ("an unknown field that is null", b'"brand_new": null', {"_extra": {"brand_new": None}}),
    ("an unknown name that is none", b'"brand-new": 1', {"_extra": {"brand-new": 1}}),
    ("a method's name", b'"items": 1, "get": 2', {"_extra": {"items": 1, "get": 2}}),
    ("invalid UTF-8 inside", b'"metadata": {"a": "\xff"}', {"metadata": {"a": "\ufffd"}}),
    ("a cut character inside", b'"metadata": {"a": "\xc3"}', {"metadata": {"a": "\ufffd"}}),
    ("a lone surrogate inside", rb'"metadata": {"a": "\ud800"}', {"metadata": {"a": "\ufffd"}}),
    ("a zero character inside", rb'"metadata": {"a": "\u0000"}', {"metadata": {"a": "\x00"}}),
    ("line breaks", b'"metadata": {\n"a": "b",\r\n\t"c": [1,\r2]}', {"metadata": {"a": "b", "c": [1, 2]}}),
    ("escaped line breaks", rb'"metadata": {"a": "\n\r"}', {"metadata": {"a": "\n\r"}}),
    ("a small decimal inside", b'"metadata": {"a": 1e-7}', {"metadata": {"a": Decimal("1e-7")}}),
    ("deep nesting", b'"metadata": ' + b"[" * 300 + b"]" * 300, {}),
    ("nothing", b'"amount": null', {"amount": None}),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "expected"), [each[1:] for each in ODD_VALUES], ids=[each[0] for each in ODD_VALUES])
def test_odd_values_end_where_the_rules_say(sent: bytes, expected: dict[str, Any]) -> None:
    odd = b'{"object": "charge", "id": "ch_1", ' + sent + b"}"
    bodies = Bodies()
    for _ in range(2):
        found = elements(page_of(ENCODER.encode(CHARGE), odd), bodies=bodies)
        record, _, _ = record_of(found[1], "charge")
        assert expected.items() <= record.items()
        assert record["_extra"] == expected.get("_extra")
        assert record_of(found[0], "charge")[0]["metadata"] == {"a": "b"}


def test_an_unknown_field_costs_a_page_its_structs_once() -> None:
    bodies, content = Bodies(), page_of(ENCODER.encode({**CHARGE, "brand_new": 1}))
    kinds = [isinstance(elements(content, bodies=bodies)[0], Sent) for _ in range(2)]
    assert kinds == [False, True]


def test_names_that_never_end_are_not_learned_for_ever() -> None:
    bodies = Bodies()
    for number in range(20):
        many = {f"new_{number}_{each}": each for each in range(10)}
        content = page_of(ENCODER.encode({**CHARGE, **many}))
        for _ in range(2):
            record, _, _ = record_of(elements(content, bodies=bodies)[0], "charge")
            assert record["_extra"] == many
    assert isinstance(elements(page_of(ENCODER.encode(CHARGE)), bodies=bodies)[0], Sent)


def test_what_says_that_it_was_deleted_is_gone_and_never_a_field() -> None:
    bodies, content = Bodies(), page_of(b'{"object": "charge", "id": "ch_1", "deleted": true}')
    for _ in range(2):
        found = read(elements(content, bodies=bodies)[0], "charge", as_of=NOW, secrets=False)
        assert found is not None
        assert found.gone


def test_an_element_of_another_type_stays_what_it_is() -> None:
    [each] = elements(page_of(b'{"object": "refund", "id": "re_1"}'))
    assert each["object"] == "refund"


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b'{"object":"list"}', b'{"object":"list","data":null}', b"{", b"\xff"]
)
def test_what_is_no_page_is_decoded_as_it_was_sent(body: bytes) -> None:
    assert Bodies().decoded(body, "charge") == Bodies().decoded(body)


SECRETS = {
    "id": "pi_1",
    "object": "payment_intent",
    "client_secret": "pi_1_secret_1",
    "metadata": {"kept": "yes", "client_secret": "pi_1_secret_2", "deep": [{"signing": "whsec_1"}]},
    "next_action": {"type": "x", "use_stripe_sdk": {"client_secret": "pi_1_secret_3"}},
    "description": "whsec_2",
    "brand_new": "whsec_3",
}


def test_secrets_are_hidden_in_what_was_left_as_bytes_too() -> None:
    bodies, content = Bodies(), page_of(ENCODER.encode(SECRETS))
    for _ in range(2):
        [each] = elements(content, "payment_intent", bodies)
        record, _, _ = record_of(each, "payment_intent", secrets=may_hold_secrets(content))
        assert b"secret_" not in ENCODER.encode(record)
        assert b"whsec_" not in ENCODER.encode(record)
        assert record["metadata"] == {"kept": "yes", "deep": [{}]}
        assert record["next_action"] == {"type": "x", "use_stripe_sdk": {}}
        assert record["_extra"] is None
    assert isinstance(each, Sent)
