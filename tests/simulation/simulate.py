"""``make simulate``: many simulations, several at once, each in a process of its own that a prepared one forks.

    make simulate SEEDS=1000        # seeds 0 to 999
    make simulate SEEDS=500-999
    make simulate SEED=123          # one, with all that it logs: how a failure is repeated
    make simulate PROCESSES=1 …     # the same plans with real processes and sockets, in real time

Prints each failure with the command that repeats it, a summary at the end, and exits with 1 if there was any. The same
seed does the same everywhere: strings hash alike (``PYTHONHASHSEED``), and nothing looks at the machine's clock.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import re
import selectors
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pprint import pformat
from typing import TYPE_CHECKING

import psycopg
from fix_postgres import running_server
from plan import ACCOUNTS, make_plan
from processes import ProcessSimulation, ProcessWorld, make_process_world
from simulation import Outcome, Simulation, make_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation import World

LONGEST_SECONDS = 300
"""Of real time, for one simulation: one that takes longer hangs."""


@dataclass(kw_only=True)
class Child:
    """A process that runs a seed."""

    seed: int
    process: int
    slot: int
    since: float


def main() -> int:
    """Run the seeds that the command line names."""
    options = _options()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606
    logging.getLogger("tap-stripe-events").addFilter(lambda record: not record.msg.startswith("Skipping deselected"))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if options.seed is None:
        logging.disable()  # whatever levels loggers have of their own
    began = time.monotonic()
    make = make_process_world if options.over_sockets else make_world
    worlds: list[World | ProcessWorld] = [make(account) for account in range(ACCOUNTS)]
    gc.freeze()  # what all simulations begin with is not looked at again and again, and stays shared
    with running_server() as server:
        if options.seed is not None:
            print(pformat(make_plan(options.seed), width=120))
            outcome = _simulate(options.seed, worlds, _database(server.url, 0))
            _print(options.seed, outcome, over_sockets=options.over_sockets)
            return bool(outcome.wrong)
        total, failed = _simulate_all(options, server.url, worlds)
    seconds = time.monotonic() - began
    done = total.pop("simulations", 0)
    print(f"{done} simulations in {seconds:.0f} s ({3600 * done / max(seconds, 1):.0f} an hour), {failed} failed")
    print(", ".join(f"{count:,} {name}" for name, count in sorted(total.items())))
    if options.json:
        with open(options.json, "w") as file:  # noqa: PTH123
            json.dump({"simulations": done, "failed": failed, "seconds": round(seconds), **total}, file)
    return bool(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Simulate accounts, pipes and troubles, and check what must hold.")
    parser.add_argument("--seeds", default="100", help="how many, from 0 on; or FIRST-LAST")
    parser.add_argument("--seed", type=int, help="one seed, with its log")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--over-sockets", action="store_true", help="with real processes, in real time")
    parser.add_argument("--json", help="a file for the summary")
    return parser.parse_args()


def _seeds(text: str) -> range:
    first, dash, last = text.partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(first))


def _simulate_all(
    options: argparse.Namespace, url: str, worlds: list[World | ProcessWorld]
) -> tuple[Counter[str], int]:
    total: Counter[str] = Counter()
    failed = 0
    for slot in range(options.processes):
        _database(url, slot)
    for seed, outcome in _outcomes(iter(_seeds(options.seeds)), options.processes, url, worlds):
        total["simulations"] += 1
        total.update(outcome.counts)
        if outcome.wrong:
            failed += 1
            _print(seed, outcome, over_sockets=options.over_sockets)
    return total, failed


def _outcomes(
    seeds: Iterator[int], processes: int, url: str, worlds: list[World | ProcessWorld]
) -> Iterator[tuple[int, Outcome]]:
    """Run each seed in a process of its own, and yield what came of it."""
    free = list(range(processes))
    with selectors.DefaultSelector() as selector:
        while True:
            while free and (seed := next(seeds, None)) is not None:
                slot = free.pop()
                reading, process = _fork(seed, worlds, _url(url, slot))
                selector.register(reading, selectors.EVENT_READ, Child(seed=seed, process=process, slot=slot,
                                                                       since=time.monotonic()))  # fmt: skip
            if not selector.get_map():
                return
            for key, _ in selector.select(timeout=1.0):
                yield key.data.seed, _reap(key.fd, key.data)
                selector.unregister(key.fd)
                free.append(key.data.slot)
            for key in list(selector.get_map().values()):
                if time.monotonic() - key.data.since > LONGEST_SECONDS:
                    os.kill(key.data.process, signal.SIGKILL)


def _fork(seed: int, worlds: list[World | ProcessWorld], url: str) -> tuple[int, int]:
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return reading, process
    os.close(reading)
    outcome = _simulate(seed, worlds, url)
    with os.fdopen(writing, "w") as file:
        json.dump({"wrong": outcome.wrong, "counts": outcome.counts}, file)
    os._exit(0)


def _reap(reading: int, child: Child) -> Outcome:
    with os.fdopen(os.dup(reading)) as file:
        text = file.read()
    os.close(reading)
    os.waitpid(child.process, 0)
    if not text:
        return Outcome(wrong=[f"it ended without a word, or hung for {LONGEST_SECONDS} s"])
    told = json.loads(text)
    return Outcome(wrong=told["wrong"], counts=Counter(told["counts"]))


def _simulate(seed: int, worlds: list[World | ProcessWorld], url: str) -> Outcome:
    plan = make_plan(seed)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP SCHEMA IF EXISTS stripe CASCADE")
    world = worlds[plan.account]
    simulation: Simulation | ProcessSimulation
    if isinstance(world, ProcessWorld):
        simulation = ProcessSimulation(plan, world, url, admin_url=_url_of("postgres", url))
    else:
        simulation = Simulation(plan, world, url)
    began = time.process_time()
    try:
        outcome = simulation.run()
    except Exception:  # noqa: BLE001 - whatever goes wrong is what is looked for
        outcome = simulation.outcome
        outcome.wrong.append(traceback.format_exc())
    outcome.counts["CPU milliseconds"] = int(1_000 * (time.process_time() - began))
    return outcome


def _print(seed: int, outcome: Outcome, *, over_sockets: bool) -> None:
    if outcome.wrong:
        print(f"FAILED  make simulate {'PROCESSES=1 ' if over_sockets else ''}SEED={seed}")
        for each in outcome.wrong:
            print("    " + each.replace("\n", "\n    "))
    else:
        print(f"seed {seed}: " + ", ".join(f"{count} {name}" for name, count in sorted(outcome.counts.items())))
    sys.stdout.flush()


def _database(url: str, slot: int) -> str:
    """Make a database for a slot."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS simulation_{slot} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE simulation_{slot} TEMPLATE template0")
    return _url(url, slot)


def _url(url: str, slot: int) -> str:
    return _url_of(f"simulation_{slot}", url)


def _url_of(database: str, url: str) -> str:
    """The libpq URI of another database of the same server."""
    return re.sub(r"/\w+\?", f"/{database}?", url)


if __name__ == "__main__":
    sys.exit(main())
