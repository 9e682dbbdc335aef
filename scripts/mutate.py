"""Change a module in one spot at a time, and see that a test fails each time (docs/mutation.md).

Works on a copy of the code as it is now, in ``.mutants/MODULE``; what survived is in ``.mutants/MODULE.txt``. The tests
of the target share one database server. What mutmut is told is in pyproject.toml, what it does not know in `mutations`.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
COPIES = REPOSITORY / ".mutants"
COPIED = ("tap_stripe_events", "target_postgres_stripe", "stripe_sandbox", "tests", "pyproject.toml")

FEED = ("feed", "feed_children", "feed_deletes", "feed_overlaps", "feed_types", "hidden_copies", "products_in_use")
APPLIED = ("as_of", "children", "owned_rows", "sweep")
TIMEOUT_SECONDS = {"tap": 8.0, "target": 60.0}  # to begin with; databases are made besides the tests themselves
ORDERS = ("tables", "order_model", "histories")


LONG = ("tests/tap/test_backfill.py::test_a_long_list_is_split_and_costs_few_requests_more_than_its_pages",)
"""Tests that take too long for what they would catch."""


@dataclass(frozen=True, kw_only=True)
class Tests:
    """The test files that ought to catch a mutant of a module: the fewest that know it.

    Attributes:
        first: They get all mutants.
        then: They get those that the first ones did not catch; each takes seconds.
    """

    first: tuple[str, ...]
    then: tuple[str, ...] = ()


MODULES = {
    "tap_stripe_events/changes": Tests(first=("changes", "hidden_copies", "feed_children", "feed_deletes")),
    "tap_stripe_events/feed": Tests(first=FEED, then=("feed_slices", "feed_model", "refused_detours")),
    "tap_stripe_events/backfill": Tests(first=("backfill",), then=("sync", "refused_detours")),
    "tap_stripe_events/bookmarks": Tests(first=("bookmarks",)),
    "target_postgres_stripe/apply": Tests(first=APPLIED, then=ORDERS),
    "target_postgres_stripe/fragments": Tests(first=APPLIED, then=ORDERS),
    "target_postgres_stripe/columns": Tests(first=("columns",)),
    "target_postgres_stripe/load": Tests(
        first=("state", "status", "sweep", "owned_rows", "drift"), then=("children", "as_of", *ORDERS)
    ),
    "target_postgres_stripe/status": Tests(first=("reading_state", "status"), then=("state",)),
}


def copy_of(module: str, name: str, tests: tuple[str, ...], origin: Path = REPOSITORY) -> Path:
    """Make a copy of the code in which only one module is to be changed."""
    folder = "tap" if module.startswith("tap") else "target"
    copy = COPIES / name
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for each in COPIED:
        if (origin / each).is_dir():
            shutil.copytree(origin / each, copy / each, ignore=ignored)
        else:
            shutil.copy2(REPOSITORY / each, copy / each)
    files = [*(f"tests/{folder}/test_{each}.py" for each in tests), *(f"--deselect={each}" for each in LONG)]
    settings = (
        f'only_mutate = ["{module}.py"]\npytest_add_cli_args_test_selection = {files}\n'
        f"timeout_constant = {TIMEOUT_SECONDS[folder]}\n"
    )
    configuration = copy / "pyproject.toml"
    configuration.write_text(configuration.read_text().replace("[tool.mutmut]\n", f"[tool.mutmut]\n{settings}"))
    return copy


def run(copy: Path, only: list[str], environment: dict[str, str]) -> tuple[str, list[str]]:
    """Run the mutants of a copy, or some; return a report, and the names of those that survived."""
    command = [sys.executable, REPOSITORY / "scripts" / "mutations.py"]
    subprocess.run([*command, "run", "--max-children", "1", *only], cwd=copy, env=environment, check=True)
    found = subprocess.run([*command, "report"], cwd=copy, env=environment, check=True, capture_output=True, text=True)
    return found.stdout, re.findall(r"^# (\S+): ", found.stdout, re.MULTILINE)


def mutate(module: str, environment: dict[str, str], *, again: bool) -> None:
    """Run the mutants of a module, or `again` only those that survived the last run; tell what survived."""
    name, tests, began = module.split("/")[1], MODULES[module], time.monotonic()
    report = COPIES / f"{name}.txt"
    only = re.findall(r"^# (\S+): ", report.read_text(), re.MULTILINE) if again else []
    copy = copy_of(module, name, tests.first)
    text, survivors = run(copy, only, environment)
    print(f"\n{module}: {text.splitlines()[0]}; {time.monotonic() - began:.0f} s", flush=True)
    if tests.then and survivors:
        text, survivors = run(copy_of(module, f"{name}-then", tests.then, copy), survivors, environment)
        print(f"\n{module}: {text.splitlines()[0]}; {time.monotonic() - began:.0f} s", flush=True)
    report.write_text(text)
    print(f"{len(survivors)} survived: see {report.relative_to(REPOSITORY)}", flush=True)


def main() -> None:
    """Mutate the named modules, or all."""
    parser = argparse.ArgumentParser(description="Change a module in one spot at a time, and see that a test fails.")
    parser.add_argument("modules", nargs="*", help=", ".join(each.split("/")[1] for each in MODULES))
    parser.add_argument("--again", action="store_true", help="only the mutants that survived the last run")
    arguments = parser.parse_args()
    modules = [each for each in MODULES if not arguments.modules or each.split("/")[1] in arguments.modules]
    if len(modules) < len(arguments.modules):
        parser.error("no such module")
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from fix_postgres import SHARED_SERVER, running_server  # noqa: PLC0415 - found by the path above

    needs_postgres = any(each.startswith("target_postgres_stripe") for each in modules)
    with running_server() if needs_postgres else nullcontext() as cluster:
        environment = os.environ | ({SHARED_SERVER: cluster.url} if cluster else {})
        for module in modules:
            mutate(module, environment, again=arguments.again)


if __name__ == "__main__":
    main()
