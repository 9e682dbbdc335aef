"""Measures what the proxy costs: ``measure_overhead.py DATABASE_URL [SECONDS [PER_SECOND]] [--json FILE]``. Not a test.

Sends the same requests to Stripe's stand-in directly and through the proxy, in turns of some seconds, so many a second
at fixed times, and counts each from the moment at which it was due. Half of them read one object, or list 10 or 100;
half write. First before the sandbox, then before an upstream that costs next to nothing, since the sandbox, Postgres,
the proxy and the client share the machine. Each is a process of its own. Empties the schema ``stripe``.
``--other DIRECTORY``: another checkout, whose proxy is measured in the same run.
"""
# ruff: noqa: T201 - it prints

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "proxy")]

import psycopg  # noqa: E402 - the tests' own modules are found by the path above
from fix_sandbox import Http  # noqa: E402
from following import sandbox_process  # noqa: E402
from open_loop import Block, Call, Took  # noqa: E402
from pipeline import FAST, Pipeline  # noqa: E402
from proxy_service import proxy_process  # noqa: E402

KEY = "sk_test_sandbox"
TURN_SECONDS = 2.0
START_SECONDS = 20
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
PER_CONNECTION = {"date", "content-length", "connection", "transfer-encoding", "keep-alive"}

Make = Callable[[random.Random], Call]


@dataclass(kw_only=True)
class Side:
    """What was measured of one way to Stripe.

    Attributes:
        took: How each request went.
        seconds: How long it was measured.
        cpu: The CPU seconds that each process used meanwhile.
        busy: The CPU seconds that the whole machine used.
    """

    took: list[Took] = field(default_factory=list)
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    busy: float = 0.0

    def milliseconds(self, percent: float) -> float:
        """How long so many percent of the requests took at most."""
        ordered = sorted(each.seconds for each in self.took)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000


class Mix:
    """The requests: 40 % read an object, 10 % list, 50 % write.

    Args:
        http: A client of the sandbox, which has a demo account.
    """

    def __init__(self, http: Http) -> None:
        def ids(name: str) -> list[str]:
            return [each["id"] for each in http.get(f"/v1/{name}", {"limit": 100}).json()["data"]]

        customers, intents, invoices = ids("customers"), ids("payment_intents"), ids("invoices")
        confirm = (
            "amount=1999&currency=eur&payment_method=pm_card_visa&confirm=true&automatic_payment_methods[enabled]=true"
            "&automatic_payment_methods[allow_redirects]=never"
        )
        self.makes: dict[str, tuple[int, Make]] = {
            "read customer": (16, lambda draw: _get(f"/v1/customers/{draw.choice(customers)}")),
            "read intent": (12, lambda draw: _get(f"/v1/payment_intents/{draw.choice(intents)}")),
            "read invoice": (12, lambda draw: _get(f"/v1/invoices/{draw.choice(invoices)}")),
            "list 10 customers": (4, lambda _: _get("/v1/customers?limit=10")),
            "list 10 intents": (4, lambda _: _get("/v1/payment_intents?limit=10")),
            "list 100 invoices": (1, lambda _: _get("/v1/invoices?limit=100")),
            "list 100 customers": (1, lambda _: _get("/v1/customers?limit=100")),
            "create customer": (16, lambda draw: _post("/v1/customers", f"email=c{draw.random()}%40example.com")),
            "update customer": (12, lambda draw: _post(f"/v1/customers/{draw.choice(customers)}", _name(draw))),
            "pay": (10, lambda _: _post("/v1/payment_intents", confirm)),
            "create invoice": (6, lambda draw: _post("/v1/invoices", f"customer={draw.choice(customers)}")),
            "create product": (6, lambda _: _post("/v1/products", "name=Another+one")),
        }  # fmt: skip

    def calls(self, seed: int, count: int) -> list[Call]:
        """Return so many requests, drawn by a seed."""
        draw = random.Random(seed)
        weights = [weight for weight, _ in self.makes.values()]
        kinds = draw.choices(list(self.makes), weights, k=count)
        return [_named(kind, self.makes[kind][1](draw)) for kind in kinds]

    def answers(self, http: Http) -> dict[str, dict[str, Any]]:
        """Return for each kind what the sandbox answers, as the canned upstream takes it."""
        found = {}
        for kind, (_, make) in self.makes.items():
            call = make(random.Random(kind))
            form = {"headers": {"Content-Type": "application/x-www-form-urlencoded"}} if call.form else {}
            answer = http.request(call.method, call.target, data=call.form or None, **form)
            assert answer.status_code == 200, answer.text
            headers = "".join(f"{k}: {v}\r\n" for k, v in answer.headers.items() if k.lower() not in PER_CONNECTION)
            made = answer.json()["id"] if kind.startswith(("create", "pay")) else None
            found[kind] = {"head": f"HTTP/1.1 200 OK\r\n{headers}", "body": answer.text, "id": made}
        return found


def _get(target: str) -> Call:
    return Call(kind="", method="GET", target=target)


def _post(target: str, form: str) -> Call:
    return Call(kind="", method="POST", target=target, form=form)


def _name(draw: random.Random) -> str:
    return f"name={draw.random()}"


def _named(kind: str, call: Call) -> Call:
    return Call(kind=kind, method=call.method, target=call.target, form=call.form)


class Client:
    """The process that sends the requests."""

    def __init__(self) -> None:
        command = [sys.executable, str(ROOT / "tests" / "proxy" / "open_loop.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, block: Block) -> list[Took]:
        """Have it send a block."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asdict(block)) + "\n")
        self.process.stdin.flush()
        return [Took(**each) for each in json.loads(self.process.stdout.readline())]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def canned_process(directory: Path, answers: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The upstream that costs next to nothing; yields its URL and its process id."""
    (directory / "answers.json").write_text(json.dumps(answers))
    port_file = directory / "canned-port"
    command = [sys.executable, str(ROOT / "tests" / "proxy" / "canned_upstream.py")]
    process = subprocess.Popen([*command, str(directory / "answers.json"), str(port_file)])
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (port_file.exists() and port_file.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, "the upstream did not start"  # noqa: PT018
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port_file.read_text()}", process.pid
    finally:
        process.kill()
        process.wait()


def cpu_of(pid: int) -> float:
    """The CPU seconds that a process and those that it has started have used."""
    total = 0.0
    for each in (pid, *children_of(pid)):
        with contextlib.suppress(FileNotFoundError):  # it has ended, and its time is its parent's
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15] if each == pid else fields[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def machine_seconds() -> float:
    """The CPU seconds that the machine was not idle."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def postmaster_of(database_url: str) -> int:
    """The process that is the server, which has to be on this machine."""
    with psycopg.connect(database_url) as session:
        fields = Path(f"/proc/{session.info.backend_pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What is measured.

    Attributes:
        client: Sends the requests.
        mix: Draws them.
        database_url: Where the proxy writes.
        seconds: How long each way to Stripe is measured.
        per_second: How many requests begin in a second.
        checkouts: Where the proxy's code is, by the name of the way through it.
    """

    client: Client
    mix: Mix
    database_url: str
    seconds: float
    per_second: float
    checkouts: Mapping[str, Path]

    def run(self, url: str, upstream_pid: int) -> dict[str, Side]:
        """Measure before a place, directly and through the proxy in turns; the first turns only warm it up."""
        postmaster = postmaster_of(self.database_url)
        with contextlib.ExitStack() as stack:
            ways: dict[str, tuple[str, int | None]] = {"direct": (url, None)}
            for name, checkout in self.checkouts.items():
                proxy, process = stack.enter_context(
                    proxy_process(checkout=checkout, database_url=self.database_url, api_url=url, api_key=KEY)
                )
                ways[name] = (f"{proxy}/api.stripe.com", process.pid)
            sides = {name: Side() for name in ways}
            for turn in range(1 + round(self.seconds / TURN_SECONDS)):
                calls = self.mix.calls(turn, round(self.per_second * TURN_SECONDS))
                for name, (base, pid) in random.Random(turn).sample(sorted(ways.items()), len(ways)):
                    pids = {
                        "postgres": postmaster,
                        "upstream": upstream_pid,
                        "client": self.client.process.pid,
                    } | ({"proxy": pid} if pid else {})
                    before, busy, began = {k: cpu_of(v) for k, v in pids.items()}, machine_seconds(), time.monotonic()
                    took = self.client.run(Block(url=base, key=KEY, per_second=self.per_second, calls=calls))
                    if turn:
                        side = sides[name]
                        side.took += took
                        side.seconds += time.monotonic() - began
                        side.busy += machine_seconds() - busy
                        for process, each in pids.items():
                            side.cpu[process] = side.cpu.get(process, 0) + cpu_of(each) - before[process]
        return sides


def summary(sides: Mapping[str, Side]) -> dict[str, Any]:
    """Return the figures: milliseconds, and CPU seconds in a second."""
    found: dict[str, Any] = {}
    for name, side in sides.items():
        found[name] = {
            **{name: side.milliseconds(percent) for name, percent in PERCENTILES.items()},
            "requests": len(side.took),
            "not 200": sum(each.status != 200 for each in side.took),
            "not applied": sum(not each.applied for each in side.took),
            "cpu": {process: used / side.seconds for process, used in side.cpu.items()},
            "busy": side.busy / side.seconds,
        }
    for name in sides.keys() - {"direct"}:
        found[f"{name} - direct"] = {key: found[name][key] - found["direct"][key] for key in PERCENTILES}
    medians = {
        name: {
            kind: statistics.median(each.seconds for each in side.took if each.kind == kind) * 1000
            for kind in {each.kind for each in side.took}
        }
        for name, side in sides.items()
    }
    found["overhead by kind"] = {
        kind: medians["proxy"][kind] - medians["direct"][kind] for kind in sorted(medians["direct"])
    }
    return found


def show(upstream: str, found: Mapping[str, Any]) -> None:
    """Print a table."""
    print(f"\n{upstream}: {found['proxy']['requests']} requests each way")
    print(f"{'ms':>15} {'p50':>7} {'p95':>7} {'p99':>7} {'max':>7}   CPU seconds in a second")
    for name, row in found.items():
        if "p50" in row:
            figures = " ".join(f"{row[key]:7.2f}" for key in PERCENTILES)
            cpu = ", ".join(f"{process} {used:.2f}" for process, used in row.get("cpu", {}).items())
            print(f"{name:>15} {figures}   {cpu}" + (f", machine {row['busy']:.2f} of {os.cpu_count()}" if cpu else ""))
    print("  median overhead: " + ", ".join(f"{k} {v:.1f}" for k, v in found["overhead by kind"].items()))
    print("  " + ", ".join(f"{key} {found['proxy'][key]}" for key in ("not 200", "not applied")))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("database_url")
    parser.add_argument("seconds", type=float, nargs="?", default=30)
    parser.add_argument("per_second", type=float, nargs="?", default=200)
    parser.add_argument("--upstream", choices=("sandbox", "canned", "both"), default="both")
    parser.add_argument("--other", type=Path, help="another checkout")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args()
    with psycopg.connect(given.database_url, autocommit=True) as admin:
        admin.execute("DROP SCHEMA IF EXISTS stripe CASCADE")
    directory = Path(tempfile.mkdtemp(prefix="overhead-"))
    client = Client()
    figures = {}
    with sandbox_process(directory) as account:
        pipeline = Pipeline(directory, stripe_url=account.url, database_url=given.database_url)
        pipeline.tap_settings |= FAST
        pipeline.run()
        (sandbox_pid,) = set(children_of(os.getpid())) - {client.process.pid}
        http = Http(account.url)
        mix = Mix(http)
        measuring = Measuring(
            client=client, mix=mix, database_url=given.database_url, seconds=given.seconds, per_second=given.per_second,
            checkouts={"proxy": ROOT} | ({"other": given.other} if given.other else {}),
        )  # fmt: skip
        answers = mix.answers(http)
        if given.upstream != "canned":
            figures["sandbox"] = summary(measuring.run(account.url, sandbox_pid))
        http.close()
    if given.upstream != "sandbox":
        with canned_process(directory, answers) as (url, pid):
            figures["canned"] = summary(measuring.run(url, pid))
    client.close()
    for upstream, found in figures.items():
        show(upstream, found)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
