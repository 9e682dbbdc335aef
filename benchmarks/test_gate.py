"""The gate: a planted slow-down fails it, and what there is passes it."""

# mypy: allow-untyped-defs
# ruff: noqa: S101, ANN001, ANN201, D103 - a test

import os
import subprocess
import sys

import pytest

from benchmarks.foreign import ROOT
from benchmarks.gate import fallen

# Every Python that starts meanwhile reads rows ten times over.
_SLOW = """
from target_postgres_stripe.rows import RowReader

read = RowReader.read


def slow(*given, **named):
    for _ in range(9):
        read(*given, **named)
    return read(*given, **named)


RowReader.read = slow
"""


@pytest.mark.parametrize(("value", "complaints"), [(0.31, 0), (0.21, 0), (0.19, 1), (float("nan"), 1)])
def test_a_ratio_that_falls_by_a_third_is_told(value, complaints):
    assert len(fallen({"tap": value}, {"tap": 0.3})) == complaints


@pytest.mark.parametrize(("planted", "code"), [("", 0), (_SLOW, 1)])
def test_a_planted_slow_down_fails_the_gate(tmp_path, planted, code):
    (tmp_path / "sitecustomize.py").write_text(planted)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gate", "target-against-loop"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert ("has fallen" in done.stdout) == bool(code)
