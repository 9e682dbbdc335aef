"""The soak: ``python tests/e2e/soak.py [MINUTES [SEED [ONLY]]]``. Not a test; ``make soak`` runs it.

``tap | target`` follow a sandbox in which fifty things change a second, while faults come and go, as processes over
sockets with an embedded Postgres of their own. Then it is quiet, and everything that was observed is judged: see
``soak_checks``. Prints tables, writes ``soak.json``, and ends with code 1 if a checker failed. ``ONLY`` is the name of
one kind of fault, such as ``"Stripe away"``: nothing else goes wrong then.
"""
# ruff: noqa: T201 - it prints

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "e2e")]

import psycopg  # noqa: E402 - the tests' own modules are found by the path above
from following import sandbox_process  # noqa: E402
from oracle import table  # noqa: E402
from pipeline import FAST, LIST_AGAIN, Pipeline  # noqa: E402
from rounds import ONLY_IN_EVENTS, Rounds  # noqa: E402
from soak_changes import Business, Marks  # noqa: E402
from soak_checks import Happened, Lived, Observed, failed, judge, recoveries  # noqa: E402
from soak_faults import FAULTS, KEY, LATE_SECONDS, Scene, permissions  # noqa: E402
from soak_pipeline import Supervised  # noqa: E402
from soak_schedule import schedule  # noqa: E402
from soak_watch import RequestLog, Watch  # noqa: E402

from target_postgres_stripe import embedded  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soak_checks import Finding
    from stripe_account import StripeAccount

PER_SECOND = 50
LEAST_SHARE = 0.95
"""Where less of it happened, the machine was too slow to say anything."""

FOLLOW = {"follow": True, "requests_per_second": 50, "endpoint_requests_per_second": 25}
"""As with a live key."""

SWEPT = frozenset({"cash_balance", "invoice_payment"})
"""What events tell only in part: nothing of a first cash balance, nor of an invoice's payment until it is paid."""

QUIET_SECONDS = LATE_SECONDS + 10
STANDSTILL_SECONDS = 3.0


@contextmanager
def postgres() -> Iterator[embedded.Cluster]:
    """An embedded Postgres that can be stopped and started."""
    root = Path(tempfile.mkdtemp(prefix="soak-pg-"))
    root.chmod(0o711)  # as root, the server's account must get there
    cluster = embedded.cluster_at(root)
    embedded.start(cluster)
    try:
        yield cluster
    finally:
        embedded.stop(cluster)
        shutil.rmtree(root, ignore_errors=True)


class Soak:
    """One soak, step by step."""

    def __init__(self, *, seconds: float, seed: int, only: str, directory: Path) -> None:
        self._seconds = seconds
        self._random = Random(seed)
        self._directory = directory
        self._episodes = schedule(seed, seconds, only=only)
        self._happened: list[Happened] = []
        self._pause = threading.Event()

    def run(self) -> Observed:
        """Run it; return what was seen."""
        with ExitStack() as stack:
            cluster = stack.enter_context(postgres())
            restricted = f"{KEY}={permissions()}"
            account = stack.enter_context(
                sandbox_process(self._directory, "--restricted", restricted, account=os.environ.get("ACCOUNT", "demo"))
            )
            pipeline = Pipeline(self._directory, stripe_url=account.url, database_url=cluster.url, api_key=KEY)
            self._read_once(pipeline)
            pipeline.tap_settings |= FOLLOW
            supervised = Supervised(pipeline)
            stack.callback(supervised.stop)
            watch = Watch(supervised, cluster.url, RequestLog(account.url, KEY))
            business = Business(account.url, per_second=PER_SECOND, random=Random(self._random.random()))
            marks = Marks(account.url, cluster.url)
            account.forget_requests()
            clocks = time.time() - time.monotonic()
            began = time.monotonic()
            parts: tuple[Any, ...] = (supervised, business, marks, watch)
            for part in parts:
                part.start()
            self._let_happen(Scene(account=account, cluster=cluster, supervised=supervised, random=self._random), began)
            ended = time.monotonic()
            made, behind = business.made, business.behind_seconds
            business.stop()
            self._wait_until(ended + QUIET_SECONDS)
            marks.stop()
            now = account.control("clock", advance=0)["now"]
            account.control("clock", stop_at=now)  # so that nothing falls due while tables are compared
            self._wait_until(time.monotonic() + STANDSTILL_SECONDS)
            watch.stop()
            supervised.stop()
            pace = made / (ended - began)
            print(
                f"{made} changes, {pace:.1f} a second, at most {behind:.1f} s behind; refused: {dict(business.refused)}"
            )
            too_slow = [f"only {pace:.1f} changes a second"] if pace < LEAST_SHARE * PER_SECOND else []
            judged = self._compare(account, pipeline, cluster)
        requests: dict[str, list[float]] = {}
        for each in watch.requests.requests:
            requests.setdefault(each["endpoint"], []).append(each["at"] - clocks)
        return Observed(
            began=began,
            ended=ended,
            episodes=self._happened,
            marks=marks.marks,
            lives=[
                Lived(
                    name=each.name, pid=each.pid, began=each.began, ended=each.ended or ended, code=each.code,
                    hung=each.hung, log=each.log.read_text(errors="replace"),
                )
                for each in supervised.lives
            ],
            samples=watch.samples,
            sessions=watch.sessions,
            printed=supervised.printed,
            per_second=FOLLOW["requests_per_second"],
            per_endpoint_second=FOLLOW["endpoint_requests_per_second"],
            requests=requests,
            answered=[each - clocks for each in watch.requests.answered],
            rows_watched=watch.rows.watched,
            backward=watch.rows.backward,
            failures=[*too_slow, *business.failures, *watch.failures],
            **judged,
        )  # fmt: skip

    def _read_once(self, pipeline: Pipeline) -> None:
        pipeline.tap_settings |= FAST
        outcome = pipeline.run()
        assert outcome.succeeded, outcome.logs
        pipeline.messages.unlink()

    def _let_happen(self, scene: Scene, began: float) -> None:
        for episode in self._episodes:
            self._wait_until(began + episode.begins)
            start = time.monotonic()
            with FAULTS[episode.kind.name](scene):
                self._wait_until(start + episode.seconds)
            ended = time.monotonic() + episode.kind.trailing_seconds
            self._happened.append(Happened(number=episode.number, kind=episode.kind, began=start, ended=ended))
            print(f"{start - began:6.0f} s: {episode.number}. {episode.kind.name}, {ended - start:.1f} s", flush=True)
        self._wait_until(began + self._seconds)

    def _wait_until(self, moment: float) -> None:
        self._pause.wait(max(0.0, moment - time.monotonic()))

    def _compare(self, account: StripeAccount, pipeline: Pipeline, cluster: embedded.Cluster) -> dict[str, Any]:
        """Compare every table with the truth: as the run that followed left it, and after everything was listed."""
        with psycopg.connect(cluster.url, autocommit=True, options="-c timezone=UTC") as connection:
            rounds = Rounds(account, pipeline, connection)
            denied = _denied(connection)
            pipeline.tap_settings |= {"follow": False, **FAST}
            without = ONLY_IN_EVENTS | SWEPT
            wrong = rounds.wrong(without=without | denied)
            if wrong:
                print(rounds.explain(wrong))
                for each in wrong[:20]:
                    print("\n".join(_inner(str(each), each.expected, each.found)))
            usual = pipeline.tap_settings
            _pass(rounds, usual)  # as on a schedule: what was refused is tried again
            still_denied = _denied(connection)
            _pass(rounds, usual | LIST_AGAIN)
            swept = rounds.wrong(without=ONLY_IN_EVENTS)
            _pass(rounds, usual)  # what the sweep had to mend is judged when no event has come of it
            return {
                "wrong": list(map(str, wrong)),
                "wrong_after_sweep": list(map(str, swept)),
                "drift": rounds.drift(),
                "still_denied": sorted(still_denied | (denied if self._is_long() else set())),
            }

    def _is_long(self) -> bool:
        """Whether a run that follows must have tried again by now what was refused."""
        refused = [each for each in self._happened if each.kind.once]
        return bool(refused) and refused[0].ended + 720 < time.monotonic()


def _pass(rounds: Rounds, settings: dict[str, Any]) -> None:
    """Let time pass, and run once."""
    rounds.quiet()
    rounds.pipeline.tap_settings = settings
    outcome = rounds.pipeline.run()
    assert outcome.succeeded, outcome.logs


def _denied(connection: psycopg.Connection[Any]) -> set[str]:
    """The tables of streams that the key may not read; not those of products that are not in use."""
    found = connection.execute(
        "SELECT stream FROM stripe._sync_status WHERE denied IS NOT NULL AND NOT (bookmark->'denied' ? 'not_set_up')"
    ).fetchall()
    return {table(stream) for (stream,) in found}


def _inner(path: str, expected: Any, found: Any) -> Iterator[str]:
    """The values inside a value that are not what they should be, each with its path."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted({*expected, *found}):
            if expected.get(name) != found.get(name):
                yield from _inner(f"{path} . {name}", expected.get(name), found.get(name))
    else:
        yield f"{path}: {expected!r}, found {found!r}"


def report(observed: Observed, findings: list[Finding]) -> str:
    """The tables that a person reads."""
    lines = ["", f"{'':>3} {'fault':<26}{'at':>6}{'for':>8}{'lag back after':>17}"]
    for episode, seconds in zip(observed.episodes, recoveries(observed), strict=True):
        back = "never" if seconds is None else f"{seconds:.1f} s"
        at, length = episode.began - observed.began, episode.ended - episode.began
        lines.append(f"{episode.number:>3} {episode.kind.name:<26}{at:>6.0f}{length:>6.1f} s{back:>17}")
    lines += ["", f"{'checker':<18}{'':<8}measured"]
    for each in findings:
        lines.append(f"{each.checker:<18}{'FAILED' if each.failures else 'ok':<8}{each.measured}")
        lines += [f"{'':<26}- {failure}" for failure in each.failures]
    return "\n".join(lines)


def main(minutes: str = "30", seed: str = "1", only: str = "") -> int:
    """Soak, judge and tell."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing is left running
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"Soaking for {minutes} min with seed {seed} in {directory}", flush=True)
    observed = Soak(seconds=float(minutes) * 60, seed=int(seed), only=only, directory=directory).run()
    findings = judge(observed)
    print(report(observed, findings))
    written = Path(os.environ.get("SOAK_JSON", directory / "soak.json"))
    written.write_text(
        json.dumps({
            "minutes": float(minutes),
            "seed": int(seed),
            "load": os.getloadavg(),
            "findings": [asdict(each) for each in findings],
            "episodes": [
                {"kind": each.kind.name, "at": each.began, "until": each.ended, "back": back}
                for each, back in zip(observed.episodes, recoveries(observed), strict=True)
            ],
            "began": observed.began,
            "lags": [(mark.made, mark.read and mark.lag) for mark in observed.marks],
            "requests": observed.requests,
            "samples": list(map(asdict, observed.samples)),
        })
    )  # fmt: skip
    print(f"\nAll figures: {written}")
    wrong = failed(findings)
    print(f"{len(wrong)} failures" if wrong else "Nothing failed.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
