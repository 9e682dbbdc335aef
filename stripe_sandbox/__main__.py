"""Starts the sandbox and serves until it is told to stop (SIGINT or SIGTERM): ``python -m stripe_sandbox --help``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stripe_sandbox import server
from stripe_sandbox.errors import SandboxError
from stripe_sandbox.faults import RateLimit
from stripe_sandbox.sandbox import KINDS, TEST_KEY, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SAVE_SECONDS = 30.0
_DESCRIPTION = """A Stripe to try things on. Time passes in it: subscriptions renew, drafts are finalised, payouts
arrive, trials and sessions end, with the events that Stripe would make. What can be asked of the sandbox itself (its
clock, faults, late events, the truth) is below /_sandbox/, which answers an unknown path with a list."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        service = _service(options)
        return asyncio.run(_serve(service, options))
    except (SandboxError, OSError) as error:
        sys.stderr.write(f"stripe_sandbox: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stripe_sandbox", description=_DESCRIPTION)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=12111, help="port to listen on; 0 takes a free one (default: %(default)s)")
    add("--port-file", type=Path, help="write the port to this file once it listens")
    add("--account", choices=KINDS, default="demo", help="what the account holds (default: %(default)s)")
    add("--seed", type=int, default=1, help="decides everything that looks random (default: %(default)s)")
    add("--scale", type=int, default=1, help="with --account full: that many times the objects")
    add("--bulk", action="append", default=[], metavar="TYPE=N", help="N more objects of a type: charge=1000000")
    add(
        "--restricted",
        action="append",
        default=[],
        metavar="KEY=NAMES",
        help="a restricted key and what it may read: rk_test_x=customer,event",
    )
    add(
        "--connected-accounts",
        type=int,
        default=0,
        metavar="N",
        help="so many smaller accounts of the same kind are connected to the account (Stripe-Account)",
    )
    add("--now", type=int, help="stop the account's clock at this unix time")
    add("--speed", type=float, default=1.0, help="a running clock runs that many times as fast (default: %(default)s)")
    add("--state", type=Path, help="go on from this file if it is there, and save to it")
    add("--alive", type=float, default=0, metavar="SECONDS", help="a day's orders come in every so many seconds")
    add("--latency-ms", type=float, default=0, help="every answer waits that long")
    add("--rate-limit", type=int, help="429 beyond so many requests a second")
    add("--endpoint-rate-limit", type=int, help="429 beyond so many requests a second for one operation")
    return parser


def _service(options: argparse.Namespace) -> Service:
    service = Service(
        account=options.account,
        seed=options.seed,
        scale=options.scale,
        bulk={name: _count(name, value) for name, value in _pairs(options.bulk)},
        restricted_keys=dict(_pairs(options.restricted)),
        now=options.now,
        state_file=options.state,
        speed=options.speed,
        connected_accounts=options.connected_accounts,
    )
    service.limit = RateLimit(per_second=options.rate_limit, per_endpoint=options.endpoint_rate_limit)
    service.faults.latency_seconds = options.latency_ms / 1000
    return service


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise SandboxError(f"'{text}' is not of the form NAME=VALUE.")
        pairs.append((name, value))
    return pairs


def _count(name: str, value: str) -> int:
    if not value.isdigit():
        raise SandboxError(f"--bulk {name}={value}: the number of objects is to be a whole number.")
    return int(value)


async def _serve(service: Service, options: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    listener = await server.listen(
        service.handle, service.account.now, host=options.host, port=options.port, beat=service.pass_time
    )
    host, port = listener.address
    service.save()
    if options.port_file is not None:
        options.port_file.write_text(f"{port}\n")
    sys.stdout.write(
        f"Sandbox Stripe ({options.account} account {service.account.id}) on http://{host}:{port}, key {TEST_KEY}\n"
    )
    sys.stdout.flush()
    tasks = [asyncio.create_task(_every(SAVE_SECONDS, service.save))]
    if options.alive > 0:
        tasks.append(asyncio.create_task(_every(options.alive, service.happen)))
    await stopped.wait()
    for task in tasks:
        task.cancel()
    listener.close()
    service.save()
    return 0


async def _every(seconds: float, act: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        act()


if __name__ == "__main__":
    sys.exit(main())
