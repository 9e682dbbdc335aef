"""Somebody wishes to know at once how far all is."""

import socket

import pytest

from tap_stripe_events.errors import WrongSettingError
from tap_stripe_events.wake import Wake


def wish(path, times=1):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        for _ in range(times):
            sending.sendto(b"!", str(path))


@pytest.fixture
def make_wake(tmp_path):
    made = []

    def make(name="wake"):
        made.append(Wake(str(tmp_path / name)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_wish_is_heard_once(tmp_path, make_wake):
    wake = make_wake()
    assert not wake.wished()
    wish(tmp_path / "wake", times=5)
    assert wake.wished()
    assert not wake.wished()


def test_without_a_path_nobody_can_wish():
    assert not Wake(None).wished()


def test_what_a_run_before_left_there_is_in_nobodys_way(tmp_path, make_wake):
    make_wake().wished()
    wake = make_wake()
    assert not wake.wished()
    wish(tmp_path / "wake")
    assert wake.wished()


@pytest.mark.parametrize("name", ["none/wake", "x" * 200])
def test_a_place_where_there_can_be_no_socket_is_a_clear_error(make_wake, name):
    with pytest.raises(WrongSettingError, match="wake_socket"):
        make_wake(name).wished()
