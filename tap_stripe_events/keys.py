"""The API key: a setting or a file, checked, and never shown.

Whatever is said to people goes through `without_keys` if somebody else wrote it, or if it may be a setting that was
mistaken for another.
"""

import re
from pathlib import Path

from tap_stripe_events.errors import WrongSettingError

_BYTES_MAX = 4096  # no key is nearly as long, and a wrong name may be that of an endless file
_KEYS = re.compile(r"\b(?:sk|rk|pk|whsec|ek)_[A-Za-z0-9_*]+")
_WAY_OUT = "Take a secret or restricted key from Stripe's dashboard (Developers, API keys)."
_FILE_WAY_OUT = "Name a file that this process may read and that holds the key and nothing else."


def api_key(given: str | None, path: str | None) -> str:
    """Return the API key that the settings `api_key` and `api_key_file` name, of which one is to be set.

    Raises:
        WrongSettingError: None of them is set, or both, or what they hold cannot be a key.
    """
    if given and path:
        raise WrongSettingError(
            setting="api_key_file", problem="api_key is set too", way_out="Set one of them, and leave the other out."
        )
    if not given and not path:
        raise WrongSettingError(
            setting="api_key",
            problem="it is empty or missing, and so is api_key_file",
            way_out=f"Set one of them. {_WAY_OUT}",
        )
    return _checked(_content(path), "api_key_file") if path else _checked(given or "", "api_key")


def without_keys(text: str) -> str:
    """Return a text without the keys that are in it."""
    return _KEYS.sub("(key)", text)


def _content(path: str) -> str:
    shown = without_keys(path)  # somebody may have set the key itself
    try:
        with Path(path).open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file can have that name"
        raise WrongSettingError(
            setting="api_key_file", problem=f"{shown!r} cannot be read: {reason}", way_out=_FILE_WAY_OUT
        ) from None
    if len(content) > _BYTES_MAX:
        raise WrongSettingError(
            setting="api_key_file", problem=f"{shown!r} is longer than a key can be", way_out=_FILE_WAY_OUT
        )
    return content.decode("utf-8-sig", errors="replace")  # what cannot be decoded is no key, which is said next


def _checked(text: str, setting: str) -> str:
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or any(each.isspace() for each in key):
        raise WrongSettingError(setting=setting, problem="it is empty or not one word", way_out=_WAY_OUT)
    if key.startswith("pk_"):
        raise WrongSettingError(setting=setting, problem="it is a publishable key", way_out=_WAY_OUT)
    return key
