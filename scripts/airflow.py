"""``make airflow``: a real Airflow in an environment of its own, ``.venvs/airflow``, for tests/orchestrate.

One that is complete is left as it is.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".venvs" / "airflow"
REQUIREMENT = "apache-airflow>=3.3,<3.4"


def main() -> None:
    """Make it if it is not there yet."""
    complete = HOME / ".complete"
    if complete.exists() and complete.read_text() == REQUIREMENT:
        return
    print(f"{REQUIREMENT} …")
    subprocess.run([sys.executable, "-m", "venv", "--clear", HOME], check=True)
    subprocess.run([HOME / "bin" / "pip", "install", "--quiet", REQUIREMENT], check=True)
    complete.write_text(REQUIREMENT)


if __name__ == "__main__":
    main()
