"""What is in an answer's bytes, whichever way it is decoded."""

from typing import Any

import pytest

from tap_stripe_events.pages import Bodies


def test_floats_and_long_integers_keep_their_digits() -> None:
    decoded = Bodies().decoded(b'{"a": 1.10, "b": 123456789012345678901234567890, "c": 1e-7}')
    assert [str(each) for each in decoded.values()] == ["1.10", "123456789012345678901234567890", "1E-7"]


@pytest.mark.parametrize(
    ("sent", "decoded"),
    [
        (rb'"a\ud800b"', "a\ufffdb"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'{"\udfff": ["\ud800"]}', {"\ufffd": ["\ufffd"]}),
        (b'"\xff\xfe"', "\ufffd\ufffd"),
        (rb'"\\ud800"', "\\ud800"),
        (rb'"\u0000"', "\x00"),
    ],
)
def test_what_utf8_cannot_hold_is_replaced(sent: bytes, decoded: Any) -> None:
    assert Bodies().decoded(sent) == decoded
