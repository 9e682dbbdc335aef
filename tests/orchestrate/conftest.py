"""A real Airflow, where ``make airflow`` has installed it; without it these tests are skipped."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from running_airflow import AIRFLOW, DAGS, Airflow

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's folder with an empty database, to be copied."""
    if not AIRFLOW.exists():
        pytest.skip("needs Airflow, which 'make airflow' installs")
    home = tmp_path_factory.mktemp("airflow")
    shutil.copytree(DAGS, home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    done = Airflow(home, dict(os.environ))("db", "migrate")
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def make_airflow(airflow_home: Path, tmp_path: Path):
    """Makes an Airflow; takes the variables that it is started with."""

    def make(environment: dict[str, str]) -> Airflow:
        home = tmp_path / "airflow"
        shutil.copytree(airflow_home, home)
        # The settings name the folder that was copied.
        for path in home.glob("airflow.cfg"):
            path.write_text(path.read_text().replace(str(airflow_home), str(home)))
        return Airflow(home, environment)

    return make
