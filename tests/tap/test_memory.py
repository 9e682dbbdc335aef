"""That memory which was freed is given back."""

import ctypes
import subprocess
import sys

import pytest

_PROGRAM = """
from pathlib import Path
from tap_stripe_events.memory import FreedMemory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

blocks = [b"x" * 100_000 for _ in range(1_000)]
last = blocks[-1]  # above them, so that they stay
blocks.clear()
memory, kept = FreedMemory(), resident()
memory.used(9_999)
assert resident() > kept - 10_000_000
memory.used(1)
assert resident() < kept - 50_000_000, (kept, resident())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps it"
)
def test_what_lies_between_blocks_in_use_is_given_back_from_time_to_time() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True, timeout=60)


def test_what_is_there_at_the_start_is_not_looked_at_again_and_cycles_still_go() -> None:
    program = """
import gc, weakref
from tap_stripe_events.memory import collect_seldom

class Node:
    pass

collect_seldom()
assert gc.get_freeze_count() > 1_000
def cycle():
    node = Node()
    node.self = node
    return weakref.ref(node)
gone = cycle()
kept = [[] for _ in range(10_000)]
assert gone() is not None
kept += [[] for _ in range(30_000)]
assert gone() is None
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
