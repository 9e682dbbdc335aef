"""The sync beside the proxy: it is started again, not too often, and ends with the proxy."""

import asyncio
import os
import re
import signal
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from stripe_proxy import follow
from stripe_proxy.__main__ import make_app
from stripe_proxy.errors import NoMeltanoError
from stripe_proxy.follow import Following, SyncProcess, settings_of_sync, sync_environment
from stripe_proxy.page import process_troubles
from stripe_proxy.settings import Settings, with_key_read
from tap_stripe_events.errors import TapError

SECONDS = 20


def python(program):
    return (sys.executable, "-c", program)


async def until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def following_of(program, **options):
    return Following(command=python(program), environment=os.environ, **options)


def test_what_ends_is_started_again_and_waits_longer_each_time(tmp_path, monkeypatch):
    pauses, sleep = [], asyncio.sleep

    async def note(seconds):
        if seconds >= 1:
            pauses.append(seconds)
            seconds = 0
        await sleep(seconds)

    async def run():
        following = following_of(f"open({str(tmp_path / 'starts')!r}, 'a').write('.'); raise SystemExit(3)")
        await following.open()
        while len(pauses) < 8:
            await sleep(0.01)
        await following.close()
        return following.state

    monkeypatch.setattr(asyncio, "sleep", note)
    state = asyncio.run(run())
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert state.exit_code == 3
    assert state.failures in {state.starts, state.starts - 1}
    assert len((tmp_path / "starts").read_text()) in {state.starts, state.starts - 1}


def test_after_a_steady_run_the_pauses_begin_anew(monkeypatch):
    monkeypatch.setattr(follow, "_STEADY_SECONDS", 0.0)

    async def run():
        following = following_of("pass")
        await following.open()
        await until(lambda: following.state.starts == 3)
        await following.close()
        return following.state

    began = time.monotonic()
    assert asyncio.run(run()).failures <= 1
    assert time.monotonic() - began < 4  # two pauses of a second, not one and two


def test_the_sync_is_in_the_process_group_and_has_time_to_end(tmp_path):
    told = tmp_path / "told"
    program = (
        "import os, signal, sys, time\n"
        f"def end(*_):\n    open({str(told)!r}, 'w').write(str(os.getpgid(0)))\n    sys.exit(143)\n"
        f"signal.signal(signal.SIGTERM, end)\nopen({str(tmp_path / 'ready')!r}, 'w')\ntime.sleep(60)\n"
    )

    async def run():
        following = following_of(program)
        await following.open()
        await until((tmp_path / "ready").exists)
        assert following.state.running_since is not None
        await following.close()

    asyncio.run(run())
    assert int(told.read_text()) == os.getpgid(0)


def test_a_sync_that_does_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "_END_SECONDS", 0.2)
    ready = tmp_path / "ready"

    async def run():
        following = following_of(
            "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            f"open({str(ready)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
        )
        await following.open()
        await until(lambda: ready.exists() and ready.read_text())
        await following.close()

    asyncio.run(run())
    with pytest.raises(ProcessLookupError):
        os.kill(int(ready.read_text()), 0)


def test_nothing_is_started_any_more_once_the_proxy_has_been_told_to_end(tmp_path):
    ready, ending = tmp_path / "ready", []

    async def run():
        following = following_of(
            f"import os, time\nopen({str(ready)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)",
            ending=lambda: bool(ending),
        )
        await following.open()
        await until(lambda: ready.exists() and ready.read_text())
        ending.append(True)
        os.kill(int(ready.read_text()), signal.SIGINT)  # as Ctrl-C does to the whole group
        await until(lambda: following.state.ended_at is not None)
        await asyncio.sleep(1.2)
        assert following.state.starts == 1
        await following.close()

    asyncio.run(run())


def test_what_is_set_for_the_proxy_is_set_for_the_sync():
    settings = Settings(api_key="rk_test_1", database_url="postgresql://db/x", hard_delete=True, port=1)
    found = sync_environment({"PATH": "p", "TAP_STRIPE_EVENTS_API_KEY": "rk_test_2"}, settings, directory="d")
    assert found == {
        "PATH": "p",
        "TAP_STRIPE_EVENTS_FOLLOW": "true",
        "TAP_STRIPE_EVENTS_WAKE_SOCKET": "d/wake",
        "TAP_STRIPE_EVENTS_API_KEY": "rk_test_1",
        "TARGET_POSTGRES_STRIPE_DATABASE_URL": "postgresql://db/x",
        "TARGET_POSTGRES_STRIPE_HARD_DELETE": "true",
    }


def test_a_file_with_the_key_is_named_to_the_sync_and_its_key_is_not_told(tmp_path):
    (tmp_path / "key").write_text("rk_test_1\n")
    settings = Settings(api_key_file=str(tmp_path / "key"), database_url_file="/run/secrets/url")
    found = sync_environment({}, settings, directory="d")
    assert found["TAP_STRIPE_EVENTS_API_KEY_FILE"] == str(tmp_path / "key")
    assert found["TARGET_POSTGRES_STRIPE_DATABASE_URL_FILE"] == "/run/secrets/url"
    assert "rk_test_1" not in str(found)
    assert with_key_read(settings).api_key == "rk_test_1"
    assert with_key_read(Settings()) == Settings()


@pytest.mark.parametrize("settings", [{"api_key": "rk_test_1", "api_key_file": "f"}, {"api_key": "pk_test_1"}])
def test_a_key_that_cannot_be_one_ends_the_proxy_at_its_start(settings):
    with pytest.raises(TapError, match="Setting api_key"):
        make_app(Settings(**settings))


def test_a_socket_that_is_set_stays(monkeypatch):
    named = {"TAP_STRIPE_EVENTS_WAKE_SOCKET": "there"}
    assert sync_environment(named, Settings(), directory="d")["TAP_STRIPE_EVENTS_WAKE_SOCKET"] == "there"
    found = sync_environment({}, Settings(wake_socket="here"), directory="d")
    assert found["TAP_STRIPE_EVENTS_WAKE_SOCKET"] == "here"


def test_what_is_not_set_for_the_proxy_is_as_meltano_finds_it_for_the_sync(monkeypatch):
    told = {
        "tap-stripe-events": {"api_key": "rk_test_1", "api_url": "https://x", "wake_socket": "w", "api_version": None},
        "target-postgres-stripe": {
            "host": "db", "user": "u", "database": "d", "default_target_schema": "billing", "hard_delete": True,
        },
    }  # fmt: skip
    monkeypatch.setattr(follow, "meltano_settings", lambda plugin, _: told[plugin])
    found = settings_of_sync(Settings(port=1), {})
    assert (found.api_key, found.api_url, found.wake_socket, found.port) == ("rk_test_1", "https://x", "w", 1)
    assert (found.default_target_schema, found.hard_delete) == ("billing", True)
    assert {"host=db", "user=u", "dbname=d"} <= set(found.database_url.split())
    assert found.database_url_file == ""
    assert found.api_version == Settings.api_version


def test_without_a_project_it_is_said_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MELTANO_")}
    with pytest.raises(NoMeltanoError, match=r"cannot read the settings of tap-stripe-events .*start in a project"):
        settings_of_sync(Settings(), environment)


NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("process", "told"),
    [
        (None, None),
        (SyncProcess(running_since=NOW), None),
        (
            SyncProcess(ended_at=NOW, exit_code=1, failures=3, next_at=NOW + timedelta(seconds=4)),
            "It ended with exit code 1 at .*12:00 UTC, and is started again in 4 s.* 3 times in a row",
        ),
        (SyncProcess(ended_at=NOW, exit_code=-9, running_since=NOW + timedelta(seconds=1)), "code -9 .* was started"),
        (SyncProcess(ended_at=NOW - timedelta(days=2), exit_code=1, running_since=NOW - timedelta(days=2)), None),
    ],
)
def test_the_page_tells_how_the_sync_ended(process, told):
    found = process_troubles(process, NOW)
    if told is None:
        assert found == []
    else:
        ((about, what),) = found
        assert about == "sync"
        assert re.search(told, what)
