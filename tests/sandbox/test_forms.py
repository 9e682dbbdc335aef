"""Parameters as Stripe reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_sandbox.errors import StripeError
from stripe_sandbox.forms import as_bool, nest, parse_params


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", {}),
        ("a=1&b=", {"a": "1", "b": ""}),
        ("created[gte]=1&created[lt]=2", {"created": {"gte": "1", "lt": "2"}}),
        ("expand[]=a&expand[]=b", {"expand": ["a", "b"]}),
        ("expand[0]=a&expand[1]=b", {"expand": ["a", "b"]}),
        (
            "items[0][price]=p&items[0][quantity]=2&items[1][price]=q",
            {"items": [{"price": "p", "quantity": "2"}, {"price": "q"}]},
        ),
        (
            "items[][price]=p&items[][quantity]=2&items[][price]=q",
            {"items": [{"price": "p", "quantity": "2"}, {"price": "q"}]},
        ),
        ("metadata[a.b]=%C3%BC&metadata[c+d]=1", {"metadata": {"a.b": "ü", "c d": "1"}}),
        ("items[10]=k&items[9]=j", {"items": ["j", "k"]}),
    ],
)
def test_brackets_nest(text: str, params: dict[str, object]) -> None:
    assert parse_params(text) == params


@pytest.mark.parametrize("text", ["a[=1", "a[b=1", "a]b=1&a[b]c=1", "a=1&a[b]=2", "a[b]=2&a=1"])
def test_brackets_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(StripeError):
        parse_params(text)


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=5)), max_size=6))
def test_any_pairs_are_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    def read() -> object:
        try:
            return nest(pairs)
        except StripeError as error:
            return error.status

    assert read() == 400 or isinstance(read(), dict)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("false", False), ("False", False)])
def test_a_boolean_may_be_written_in_capitals(text: str, value: bool) -> None:
    assert as_bool("confirm", text) is value


@pytest.mark.parametrize("wrong", ["", "1", "yes", None, ["true"], {"true": "true"}])
def test_nothing_else_is_a_boolean(wrong: Any) -> None:
    with pytest.raises(StripeError, match="Invalid boolean"):
        as_bool("confirm", wrong)
