"""The checkers of a soak: each looks at one thing, all through it. Pure.

A checker takes what was observed, and returns what it measured and what is wrong, naming the episode if there is one.
Medians are compared rather than single values: the machine may be doing other things too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median, quantiles
from typing import TYPE_CHECKING

from stripe_account import busiest_second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from soak_changes import Mark
    from soak_pipeline import Printed
    from soak_schedule import Kind
    from soak_watch import Sample, Sessions

LAG_SECONDS = 1.0
MARKS_IN_TIME = 3
"""So many marks in turn must be there within a second for the lag to be back."""

RECOVERY_SECONDS = 5.0
RESTART_RECOVERY_SECONDS = 20.0
"""The same where the processes ended: they are started again, and read the whole lookback, thirty pages in turn."""

SETTLED_SECONDS = 90.0
"""A process has what it needs by then: the lookback is a minute long."""

JUDGED_SECONDS = 90.0
"""A shorter rest of a life says nothing."""

GROWTH_BYTES = 6_000_000
GROWTH_SHARE = 0.06
MEMORY_BYTES = 400_000_000
MORE_FILES = 3
MORE_THREADS = 2
STATE_GROWTH_SHARE = 0.05
STATES_PER_SECOND = 11
"""The target commits ten times a second at most."""

BUSY_SECOND = 0.9
STALL_SECONDS = 0.2
STALL_REACH_SECONDS = 1.2
MINUTE = 60.0


@dataclass(kw_only=True)
class Happened:
    """An episode that has happened, by the monotonic clock; since ``ended`` nothing is affected any more."""

    number: int
    kind: Kind
    began: float
    ended: float

    def __str__(self) -> str:
        return f"episode {self.number} ({self.kind.name})"


@dataclass(frozen=True, kw_only=True)
class Lived:
    """A process from its beginning to its end. ``log`` is what it said."""

    name: str
    pid: int
    began: float
    ended: float
    code: int | None
    hung: bool = False
    log: str = ""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that was seen.

    Attributes:
        began, ended: The soak, without the quiet after it.
        per_second, per_endpoint_second: The most requests the tap may send.
        requests: The moment of each of its requests, by endpoint.
        answered: The moment of each request of anybody's that the sandbox answered.
        backward: Rows whose ``_sdc_as_of`` went back.
        wrong: Cells that are not as Stripe has them, after quiet.
        wrong_after_sweep: The same after everything was listed again.
        drift: Streams with rows that the sweep had to mend, and how many.
        still_denied: Streams that are refused although the key may read them again.
        failures: What the soak itself could not do.
    """

    began: float
    ended: float
    episodes: Sequence[Happened]
    marks: Sequence[Mark]
    lives: Sequence[Lived]
    samples: Sequence[Sample]
    sessions: Sequence[Sessions]
    printed: Sequence[Printed]
    per_second: int
    per_endpoint_second: int
    requests: dict[str, Sequence[float]] = field(default_factory=dict)
    answered: Sequence[float] = ()
    rows_watched: int = 0
    backward: Sequence[str] = ()
    wrong: Sequence[str] = ()
    wrong_after_sweep: Sequence[str] = ()
    drift: Sequence[tuple[str, int]] = ()
    still_denied: Sequence[str] = ()
    failures: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a checker found. ``failures`` is empty if all is well."""

    checker: str
    measured: str
    failures: tuple[str, ...] = ()


def sixths(values: Sequence[tuple[float, float]], began: float, ended: float) -> tuple[float, float] | None:
    """Return the medians of the second and of the last sixth of a time; None if there are no values in one."""
    length = (ended - began) / 6
    second = [value for at, value in values if began + length <= at < began + 2 * length]
    last = [value for at, value in values if ended - length <= at <= ended]
    return (median(second), median(last)) if second and last else None


def recovery(marks: Sequence[Mark], episode: Happened, until: float) -> float | None:
    """Return how long after an episode changes were there within a second again; None if they never were.

    Args:
        marks: All marks, in order.
        episode: The episode.
        until: When the next one began.
    """
    after = [mark for mark in marks if episode.ended <= mark.made < until]
    for number, mark in enumerate(after):
        row = after[number : number + MARKS_IN_TIME]
        if len(row) == MARKS_IN_TIME and all(each.lag < LAG_SECONDS for each in row):
            # The marks made before were late, so some were read only now; nothing was late from here on.
            return max(0.0, mark.made - episode.ended)
    return None


def next_began(observed: Observed, number: int) -> float:
    """Return when the episode after the one at a place in the list began, or the soak ended."""
    following = observed.episodes[number + 1 :]
    return following[0].began if following else observed.ended


def recoveries(observed: Observed) -> list[float | None]:
    """Return the recovery of each episode."""
    return [
        recovery(observed.marks, episode, next_began(observed, number))
        for number, episode in enumerate(observed.episodes)
    ]


def lag_after_faults(observed: Observed) -> Finding:
    """After each fault, changes are there within a second again, soon."""
    failures: list[str] = []
    took: dict[bool, list[float]] = {False: [], True: []}
    for episode, seconds in zip(observed.episodes, recoveries(observed), strict=True):
        ends = episode.kind.ends_processes
        limit = RESTART_RECOVERY_SECONDS if ends else RECOVERY_SECONDS
        if seconds is None:
            failures.append(f"{episode}: the lag never came back under {LAG_SECONDS:.0f} s before the next one")
        elif seconds > limit:
            failures.append(f"{episode}: the lag was back under {LAG_SECONDS:.0f} s after {seconds:.1f} s, not {limit}")
        if seconds is not None:
            took[ends].append(seconds)
    words = {False: "survived", True: "with a restart"}
    measured = "; ".join(
        f"{words[ends]}: {len(each)} faults, median {median(each):.1f} s, longest {max(each):.1f} s"
        for ends, each in took.items()
        if each
    )
    return Finding(checker="lag after faults", measured=measured, failures=tuple(failures))


def lag_in_calm(observed: Observed) -> Finding:
    """Where nothing is wrong, the median lag is under a second."""
    calm: list[float] = []
    starts = [observed.began, *(each.ended for each in observed.episodes)]
    ends = [*(each.began for each in observed.episodes), observed.ended]
    waits = [0.0, *(each or 0.0 for each in recoveries(observed))]
    for start, end, wait in zip(starts, ends, waits, strict=True):
        calm += [mark.lag for mark in observed.marks if start + wait <= mark.made < end - LAG_SECONDS]
    if len(calm) < MARKS_IN_TIME:
        return Finding(checker="lag in calm", measured="", failures=("there are no marks to judge by",))
    shares = quantiles(calm, n=100, method="inclusive")
    measured = f"{len(calm)} marks: p50 {shares[49]:.2f} s, p95 {shares[94]:.2f} s, p99 {shares[98]:.2f} s"
    late = () if shares[49] < LAG_SECONDS else (f"the median is {shares[49]:.2f} s",)
    return Finding(checker="lag in calm", measured=measured, failures=late)


def nothing_is_lost(observed: Observed) -> Finding:
    """Every mark, or a later one of the same object, could be read."""
    lost = sum(mark.read is None for mark in observed.marks)
    measured = f"{len(observed.marks)} marks"
    return Finding(checker="marks", measured=measured, failures=(f"{lost} never could be read",) if lost else ())


def _flat(
    observed: Observed, checker: str, value: Callable[[Sample], float], allowed: Callable[[float], float], unit: float
) -> Finding:
    """Compare, for each process that lived long enough, the second and the last sixth of its settled life."""
    by_pid: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for each in observed.samples:
        by_pid[each.pid].append((each.at, value(each)))
    measured: list[str] = []
    failures: list[str] = []
    for life in observed.lives:
        began, ended = life.began + SETTLED_SECONDS, min(life.ended, observed.ended)
        if ended - began < JUDGED_SECONDS or (found := sixths(by_pid[life.pid], began, ended)) is None:
            continue
        before, after = (each / unit for each in found)
        text = f"{life.name} {before:.1f} → {after:.1f} in {(ended - began) / MINUTE:.1f} min"
        measured.append(text)
        if found[1] - found[0] > allowed(found[0]):
            failures.append(f"{text}, begun at {life.began - observed.began:.0f} s")
    highest = {
        name: max((each for life in observed.lives if life.name == name for _, each in by_pid[life.pid]), default=0)
        for name in dict.fromkeys(life.name for life in observed.lives)
    }
    most = ", ".join(f"{name} {each / unit:.1f}" for name, each in highest.items())
    return Finding(
        checker=checker,
        measured="; ".join([*measured, f"most: {most}"]) if measured else f"no life was long enough; most: {most}",
        failures=tuple(failures),
    )


def memory(observed: Observed) -> Finding:
    """Memory is flat, and never beyond what such a pipeline needs."""
    found = _flat(
        observed, "memory (MB)", lambda each: each.memory, lambda size: max(GROWTH_BYTES, size * GROWTH_SHARE), 1e6
    )
    beyond = {each.pid for each in observed.samples if each.memory > MEMORY_BYTES}
    failures = [
        f"{life.name}, begun at {life.began - observed.began:.0f} s, held more than {MEMORY_BYTES / 1e6:.0f} MB"
        for life in observed.lives
        if life.pid in beyond
    ]
    return Finding(checker=found.checker, measured=found.measured, failures=(*found.failures, *failures))


def files(observed: Observed) -> Finding:
    """File descriptors are flat."""
    return _flat(observed, "file descriptors", lambda each: each.files, lambda _: MORE_FILES, 1)


def threads(observed: Observed) -> Finding:
    """Threads are flat."""
    return _flat(observed, "threads", lambda each: each.threads, lambda _: MORE_THREADS, 1)


def postgres_sessions(observed: Observed) -> Finding:
    """The target has one session; a killed one's may be there a moment longer."""
    counts = Counter(each.target for each in observed.sessions)
    found = sixths([(each.at, each.target) for each in observed.sessions], observed.began, observed.ended)
    failures = []
    if found is None or found[1] > found[0]:
        failures.append(f"more at the end than at the beginning: {found}")
    if counts and max(counts) > 2:
        failures.append(f"{max(counts)} at once")
    measured = ", ".join(f"{count} in {times} samples" for count, times in sorted(counts.items()))
    return Finding(checker="Postgres sessions", measured=measured, failures=tuple(failures))


def states(observed: Observed) -> Finding:
    """STATEs do not become larger, nor many more."""
    printed = [each for each in observed.printed if observed.began <= each.at <= observed.ended]
    sizes = sixths([(each.at, each.size) for each in printed], observed.began, observed.ended)
    if sizes is None:
        return Finding(checker="STATEs", measured="", failures=("none at the beginning or at the end",))
    failures = []
    if sizes[1] > sizes[0] * (1 + STATE_GROWTH_SHARE):
        failures.append(f"they grew from {sizes[0]:.0f} to {sizes[1]:.0f} bytes")
    busiest = max(Counter(int(each.at) for each in printed).values())
    if busiest > STATES_PER_SECOND:
        failures.append(f"{busiest} in one second")
    per_minute = len(printed) / (observed.ended - observed.began) * MINUTE
    measured = f"{len(printed)}, {per_minute:.0f} a minute, {sizes[0]:.0f} → {sizes[1]:.0f} bytes"
    return Finding(checker="STATEs", measured=measured, failures=tuple(failures))


def request_rate(observed: Observed) -> Finding:
    """The tap never sends more than it may in any second: over all endpoints, and to each.

    The log says when the sandbox came to a request. Where it came to none for a while, those that had arrived meanwhile
    look as if they came at once, so what follows such a stall says nothing; how often that was is told.
    """
    everything = sorted(moment for moments in observed.requests.values() for moment in moments)
    stalls = [late for early, late in pairwise(observed.answered) if late - early >= STALL_SECONDS]
    failures: list[str] = []
    excused = 0
    limits = [("all endpoints", everything, observed.per_second)]
    limits += [(name, sorted(each), observed.per_endpoint_second) for name, each in observed.requests.items()]
    for name, moments, limit in limits:
        beyond = seconds_beyond(moments, limit)
        certain = [at for at in beyond if not any(at - STALL_REACH_SECONDS <= stall <= at for stall in stalls)]
        excused += len(beyond) - len(certain)
        if certain:
            when = ", ".join(f"{at - observed.began:.1f} s" for at in certain[:5])
            failures.append(f"more than {limit} in a second to {name}, {len(certain)} times: {when}")
    most = busiest_second(everything)
    average = len(everything) / (observed.ended - observed.began)
    measured = (
        f"{len(everything)}, {average:.1f} a second; busiest second {most} of {observed.per_second}; "
        f"{excused} beyond it within a second of one of {len(stalls)} stalls of the sandbox"
    )
    return Finding(checker="requests", measured=measured, failures=tuple(failures))


def seconds_beyond(moments: Sequence[float], limit: int) -> list[float]:
    """Return the moments at which there had been more than so many in a second, as ``busiest_second`` counts them."""
    return [late for early, late in zip(moments, moments[limit:], strict=False) if late - early < BUSY_SECOND]


def ends(observed: Observed) -> Finding:
    """Processes end only where a fault ends them, and then by themselves, with a code and without a traceback."""
    ended = [each for each in observed.lives if each.ended < observed.ended]
    failures = []
    for life in ended:
        near = [each for each in observed.episodes if each.began - 1 <= life.ended <= each.ended + RECOVERY_SECONDS]
        if not any(each.kind.ends_processes for each in near):
            where = f" in {near[-1]}" if near else ""
            failures.append(f"{life.name} ended{where} with {life.code} at {life.ended - observed.began:.0f} s")
    failures += [f"{life.name} hung at {life.ended - observed.began:.0f} s" for life in observed.lives if life.hung]
    failures += [
        f"{life.name}, begun at {life.began - observed.began:.0f} s, logged a traceback"
        for life in observed.lives
        if "Traceback" in life.log
    ]
    codes = Counter(f"{life.name} {life.code}" for life in observed.lives)
    measured = f"{len(ended) // 2} restarts; " + ", ".join(f"{code}: {n}" for code, n in sorted(codes.items()))
    return Finding(checker="processes", measured=measured, failures=tuple(failures))


def as_of(observed: Observed) -> Finding:
    """``_sdc_as_of`` never goes back."""
    return Finding(
        checker="_sdc_as_of", measured=f"{observed.rows_watched} rows watched", failures=tuple(observed.backward[:20])
    )


def tables(observed: Observed) -> Finding:
    """After quiet, and again after a sweep, every table equals the truth in every cell."""
    failures = [f"after quiet: {each}" for each in observed.wrong[:20]]
    failures += [f"after a sweep: {each}" for each in observed.wrong_after_sweep[:20]]
    measured = f"{len(observed.wrong)} cells wrong after quiet, {len(observed.wrong_after_sweep)} after a sweep"
    return Finding(checker="tables", measured=measured, failures=tuple(failures))


def drift(observed: Observed) -> Finding:
    """A sweep of everything mends nothing that events should have kept right; nothing stays refused."""
    failures = [f"{stream}: {count} rows" for stream, count in observed.drift]
    failures += [f"{stream} is still refused" for stream in observed.still_denied]
    return Finding(checker="drift", measured=str(sum(n for _, n in observed.drift)), failures=tuple(failures))


def the_soak_itself(observed: Observed) -> Finding:
    """What the soak set out to do, it did."""
    return Finding(checker="the soak itself", measured="", failures=tuple(observed.failures[:20]))


CHECKERS: tuple[Callable[[Observed], Finding], ...] = (
    lag_after_faults, lag_in_calm, nothing_is_lost, memory, files, threads, postgres_sessions, states, request_rate,
    ends, as_of, tables, drift, the_soak_itself,
)  # fmt: skip


def judge(observed: Observed) -> list[Finding]:
    """Ask every checker."""
    return [checker(observed) for checker in CHECKERS]


def failed(findings: Iterable[Finding]) -> list[str]:
    """Return all failures, with the checkers that found them."""
    return [f"{each.checker}: {failure}" for each in findings for failure in each.failures]
