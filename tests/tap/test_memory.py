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
