"""What Postgres cannot store."""

import json

import pytest

from target_postgres_stripe.text import storable

U = "\ufffd"


@pytest.mark.parametrize(
    ("line", "value", "replaced"),
    [
        (rb'"a\u0000b"', f"a{U}b", 1),
        (rb'"a\\u0000b"', "a\\u0000b", 0),
        (rb'"a\\\u0000b"', f"a\\{U}b", 1),
        (rb'"\ud83d\ude00"', "\U0001f600", 0),
        (rb'"\ud83d"', U, 1),
        (rb'"\ude00\ud83d"', U + U, 2),
        (rb'"\ud83d\ud83d\ude00"', f"{U}\U0001f600", 1),
        (rb'"\\ud83d"', "\\ud83d", 0),
        (b'"\xff\xfe"', U + U, 2),
        ('"\U0001f600é"'.encode(), "\U0001f600é", 0),
        (b'"\xed\xa0\x80"', U * 3, 3),
        (rb'{"\u0000k": 1}', {f"{U}k": 1}, 1),
        (rb'"\u00000"', f"{U}0", 1),
        (rb'"A\n"', "A\n", 0),
    ],
)
def test_only_what_postgres_refuses_is_replaced_and_counted(line, value, replaced):
    result, count = storable(line)
    assert (json.loads(result), count) == (value, replaced)
