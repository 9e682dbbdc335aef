"""Singer messages as the tests write them."""

TEXT = {"type": ["string", "null"]}
INTEGER = {"type": ["integer", "null"]}
MOMENT = {"type": ["string", "null"], "format": "date-time"}
JSON = {"type": ["object", "array", "null"]}

FILLER = "0001-01-01T00:00:00Z"


def at(second):
    """A moment, as seconds after a fixed one."""
    return f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"


def millis(second):
    """The same moment as a sweep's version."""
    return 1767225600000 + second * 1000


def schema(stream, *, key=("id",), ordered=True, **properties):
    properties = dict.fromkeys(key, TEXT) | properties
    if ordered:
        properties["_sdc_as_of"] = MOMENT
    return {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"type": "object", "properties": properties},
        "key_properties": list(key),
    }


def record(stream, record=None, *, as_of=None, gone=None, children=None, version=None, **fields):
    body = dict(record or {}) | fields
    if as_of is not None:
        body["_sdc_as_of"] = as_of if isinstance(as_of, str) else at(as_of)
    if gone is not None:
        body["_sdc_deleted_at"] = at(gone)
        body["_sdc_as_of"] = at(gone)
    if children is not None:
        body["_sdc_children"] = children
    message = {"type": "RECORD", "stream": stream, "record": body}
    return message if version is None else message | {"version": version}


def state(value=None, *, account="acct_1", livemode=False, **bookmarks):
    """A STATE of this project's tap."""
    return {
        "type": "STATE",
        "value": value or {"account": {"id": account, "livemode": livemode}, "bookmarks": bookmarks},
    }


def activate(stream, version, account=None):
    message = {"type": "ACTIVATE_VERSION", "stream": stream, "version": version}
    return message if account is None else message | {"stripe_account_id": account}
