"""When what goes wrong in a soak, from a seed: episodes of faults, each followed by calm. Pure.

What ends the processes comes in the first part of a long run only, by turns with what they must survive. So the rest of
it is one long life of each process, in which whatever grows has the time to show.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WARM_UP_SECONDS = 20.0
"""Nothing goes wrong at the beginning."""

EPISODE_SECONDS = (5.0, 20.0)
SHORT_EPISODE_SECONDS = (5.0, 9.0)
CALM_SECONDS = (15.0, 25.0)
RESTART_SECONDS = 15.0
"""So much more calm after what ends the processes, so that the next fault is judged by itself."""

LAST_CALM_SECONDS = 20.0

LONG_RUN_SECONDS = 600.0
ENDING_SHARE = 0.4
"""The part of a long run in which processes end."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: What goes wrong.
        ends_processes: The pipeline ends because of it, and has to be started again.
        at_once: It begins and ends in one moment.
        trailing_seconds: For how long after its end answers may still be affected.
        once: It happens once in a run, since what it leaves behind takes ten minutes to heal.
    """

    name: str
    ends_processes: bool = False
    at_once: bool = False
    trailing_seconds: float = 0.0
    once: bool = False


SLOW_SECONDS = 2.0
FROZEN_SECONDS = 8.0

SURVIVED = (
    Kind(name="429"),
    Kind(name="429, Retry-After"),
    Kind(name="500, 502, 503"),
    Kind(name="lock timeouts"),
    Kind(name="resets"),
    Kind(name="truncated answers"),
    Kind(name="HTML with 200"),
    Kind(name="slow answers", trailing_seconds=SLOW_SECONDS),
    Kind(name="answers that hang", trailing_seconds=FROZEN_SECONDS),
    Kind(name="Stripe away"),
    Kind(name="Stripe down"),
    Kind(name="late events"),
    Kind(name="events of old versions"),
    Kind(name="a locked table"),
    Kind(name="a permission refused", once=True),
)
ENDING = (
    Kind(name="connections cut", ends_processes=True, at_once=True),
    Kind(name="database stopped", ends_processes=True),
    Kind(name="database crashed", ends_processes=True),
    Kind(name="tap killed", ends_processes=True, at_once=True),
    Kind(name="target killed", ends_processes=True, at_once=True),
    Kind(name="both killed", ends_processes=True, at_once=True),
)


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Something goes wrong for a while. Moments are seconds since the beginning of the soak."""

    number: int
    kind: Kind
    begins: float
    seconds: float


class _Deck:
    """Deals kinds in random order, each as often as the others."""

    def __init__(self, kinds: Sequence[Kind], random: Random) -> None:
        self._kinds = kinds
        self._random = random
        self._left: list[Kind] = []

    def deal(self) -> Kind:
        if not self._left:
            self._left = self._random.sample(self._kinds, len(self._kinds))
            self._kinds = [each for each in self._kinds if not each.once]
        return self._left.pop()


def schedule(seed: int, seconds: float, *, only: str = "") -> list[Episode]:
    """Return the episodes of a soak that takes so long.

    Args:
        seed: Decides everything.
        seconds: How long.
        only: The name of the one kind that there is to be; empty for all.
    """
    random = Random(seed)
    if only:
        survived = ending = _Deck([each for each in SURVIVED + ENDING if each.name == only], random)
    else:
        survived, ending = _Deck(SURVIVED, random), _Deck(ENDING, random)
    long = seconds >= LONG_RUN_SECONDS
    ending_until = seconds * ENDING_SHARE if long else seconds
    shortest, longest = EPISODE_SECONDS if long or only else SHORT_EPISODE_SECONDS
    moment = WARM_UP_SECONDS
    episodes: list[Episode] = []
    while moment + longest + LAST_CALM_SECONDS <= seconds:
        ends = moment < ending_until and len(episodes) % 2 == 1
        kind = (ending if ends else survived).deal()
        length = 0.0 if kind.at_once else random.uniform(shortest, longest)
        episodes.append(Episode(number=len(episodes) + 1, kind=kind, begins=moment, seconds=length))
        moment += length + kind.trailing_seconds + random.uniform(*CALM_SECONDS)
        moment += RESTART_SECONDS if kind.ends_processes else 0.0
    return episodes
