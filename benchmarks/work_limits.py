"""What must not grow: memory, the cost of an object, and the start of a run that has nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import requests

from benchmarks.foreign import ROOT
from benchmarks.measure import Row, Work, alternate, median, spent_by
from benchmarks.pipe import run_pipe
from benchmarks.setting import BIN, KEY

if TYPE_CHECKING:
    from benchmarks.pipe import PipeSpent
    from benchmarks.setting import Setting

_MEMORY_MB = 200
_STREAMS = {"charge", "customer"}


def memory(setting: Setting) -> list[Row]:
    """Peak memory of tap and target at two sizes."""
    small, large = 10_000, setting.size(1_000_000, least=20_000)
    spent = {count: _piped(setting, count) for count in (small, large)}
    rows = []
    for name in ("tap", "target"):
        little, much = (getattr(spent[count], name).peak_mb for count in (small, large))
        rows.append(
            Row(
                work=f"memory of the {name}, {large:,} objects",
                against=f"{_MEMORY_MB} MB; the same at {small:,} objects",
                value=much,
                unit="MB",
                reach=_MEMORY_MB,
                at_least=False,
                figures={f"at {small:,}, MB": little, "growth, MB": much - little},
            )
        )
    return rows


def scaling(setting: Setting) -> list[Row]:
    """CPU and seconds of an object beyond the start, in accounts of 1, 10 and 100 times the size."""
    sizes = [setting.size(5_000, least=2_000) * times for times in (1, 10, 100)]
    # With one object a list, so that what is made once for each is part of the start.
    least = _piped(setting, 2)
    figures: dict[str, float] = {}
    costs = []
    for count in sizes:
        spent = _piped(setting, count)
        costs.append((_cpu(spent) - _cpu(least)) / (count - 2) * 1e6)
        figures[f"{count:,}: CPU µs an object"] = costs[-1]
        figures[f"{count:,}: µs by the clock"] = (spent.seconds - least.seconds) / (count - 2) * 1e6
    return [
        Row(
            work="1, 10, 100 times the account",
            against="cost per object, dearest ÷ cheapest",
            value=max(costs) / min(costs),
            unit="times",
            reach=1.15,
            at_least=False,
            figures=figures,
        )
    ]


def start(setting: Setting) -> list[Row]:
    """``meltano run`` with nothing to do, against ``meltano --version`` and one reading of the feed."""
    with setting.sandbox() as url, setting.database() as database:
        environment = {
            "TAP_STRIPE_EVENTS_API_KEY": KEY,
            "TAP_STRIPE_EVENTS_API_URL": url,
            "TARGET_POSTGRES_STRIPE_DATABASE_URL": database,
            # Its bookkeeping is the run's own too, so that nothing is left in the project.
            "MELTANO_DATABASE_URI": f"sqlite:///{setting.path('meltano.db')}",
        }
        run = [BIN / "meltano", "run", "tap-stripe-events", "target-postgres-stripe"]

        def seconds(*command: object) -> float:
            log = setting.path("meltano.log")
            return spent_by([str(part) for part in command], log=log, cwd=ROOT, environment=environment).seconds

        seconds(*run)
        compared = alternate(
            lambda: seconds(*run),
            lambda: (
                seconds(BIN / "meltano", "--version")
                + requests.get(
                    f"{url}/v1/events", headers={"Authorization": f"Bearer {KEY}"}, timeout=60
                ).elapsed.total_seconds()
            ),
            rounds=setting.rounds,
        )
    beyond = median([ours - theirs for ours, theirs in zip(compared.ours, compared.theirs, strict=True)])
    return [
        Row(
            work="start: meltano run with nothing to do",
            against="meltano --version plus one poll",
            value=beyond,
            unit="s beyond",
            reach=3,
            at_least=False,
            figures={"run, s": median(compared.ours), "version and poll, s": median(compared.theirs)},
        )
    ]


def _piped(setting: Setting, count: int) -> PipeSpent:
    bulk = {"charge": count // 2, "customer": count - count // 2} if count else {}
    with setting.sandbox(bulk=bulk) as url, setting.database() as database:
        return run_pipe(setting, url, database, _STREAMS)


def _cpu(spent: PipeSpent) -> float:
    return spent.tap.cpu_seconds + spent.target.cpu_seconds


WORKS = (Work(name="start", run=start), Work(name="scaling", run=scaling), Work(name="memory", run=memory))
