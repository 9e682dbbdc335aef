"""The key comes from a setting or a file, and is in no message."""

from pathlib import Path

import pytest
from singer_sdk.exceptions import ConfigValidationError

from tap_stripe_events import tap as tap_module
from tap_stripe_events.errors import WrongSettingError
from tap_stripe_events.keys import api_key, without_keys
from tap_stripe_events.tap import TapStripeEvents

KEY = "rk_test_planted1234"


@pytest.mark.parametrize("content", [KEY, KEY + "\n", f"  {KEY}\r\n\n", "\ufeff" + KEY])
def test_a_key_in_a_file_is_what_the_file_holds_without_the_space_around_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(content.encode())
    assert api_key(None, str(path)) == KEY
    assert api_key("", str(path)) == KEY


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty or not one word"),
        (b"\n", "empty or not one word"),
        (f"{KEY}\n{KEY}".encode(), "empty or not one word"),
        (f"key: {KEY}".encode(), "empty or not one word"),
        (b"\xff\xfe" + KEY.encode("utf-16-le"), "empty or not one word"),
        (b"\0" * 20, "empty or not one word"),
        (KEY.encode() * 1000, "longer than a key can be"),
        (b"pk_test_planted1234", "publishable"),
    ],
)
def test_a_file_that_holds_no_key_is_refused_without_telling_what_it_holds(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(WrongSettingError, match=f"^Setting api_key_file: .*{told}") as caught:
        api_key(None, str(path))
    assert "planted" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(WrongSettingError, match=r"api_key_file: '.*/none' cannot be read: No such file or directory"):
        api_key(None, str(tmp_path / "none"))
    with pytest.raises(WrongSettingError, match="cannot be read: Is a directory"):
        api_key(None, str(tmp_path))
    with pytest.raises(WrongSettingError, match="no file can have that name"):
        api_key(None, "a\0b")


def test_a_key_that_was_set_in_place_of_its_file_is_not_told() -> None:
    with pytest.raises(WrongSettingError, match="cannot be read") as caught:
        api_key(None, KEY)
    assert "planted" not in str(caught.value)


def test_one_of_the_two_has_to_be_set_and_one_only() -> None:
    with pytest.raises(WrongSettingError, match="api_key is set too"):
        api_key(KEY, "/run/secrets/key")
    for missing in (None, ""):
        with pytest.raises(WrongSettingError, match="empty or missing, and so is api_key_file"):
            api_key(missing, missing)


def test_a_key_of_the_wrong_type_is_not_told_by_what_checks_the_settings() -> None:
    with pytest.raises(ConfigValidationError) as caught:
        TapStripeEvents(config={"api_key": [KEY], "start_date": {"oops": KEY}}, validate_config=True)
    told = [str(caught.value), *caught.value.errors]
    assert any("config['api_key']" in each for each in told)
    assert any("config['start_date']" in each for each in told)
    assert not any("planted" in each for each in told)


@pytest.mark.parametrize("setting", ["api_url", "start_date"])
def test_a_key_that_was_set_in_place_of_something_else_is_not_told(setting: str) -> None:
    tap = TapStripeEvents(config={"api_key": "sk_test_other", setting: KEY}, validate_config=False)
    with pytest.raises(WrongSettingError, match=setting) as caught:
        _ = tap.client if setting == "api_url" else tap_module._start_second(tap.config)
    assert "planted" not in str(caught.value)


def test_keys_are_taken_out_of_what_others_say() -> None:
    said = f"Invalid API Key provided: {KEY}, sk_live_{'*' * 20}9876; whsec_abc, task_force stays"
    assert without_keys(said) == "Invalid API Key provided: (key), (key); (key), task_force stays"
