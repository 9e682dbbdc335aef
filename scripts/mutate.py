"""Change a module in one spot at a time, and see that a test fails each time (docs/mutation.md).

Works on a copy of the code as it is now, in ``.mutants/MODULE``; what survived is in ``.mutants/MODULE.txt``. The tests
of the target share one database server. What mutmut is told is in pyproject.toml, what it does not know in `mutations`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
COPIES = REPOSITORY / ".mutants"
COPIED = ("tap_stripe_events", "target_postgres_stripe", "stripe_sandbox", "tests", "pyproject.toml")

FEED = (
    "feed", "feed_children", "feed_deletes", "feed_overlaps", "feed_slices", "feed_types", "feed_model",
    "hidden_copies", "products_in_use", "refused_detours",
)  # fmt: skip
APPLIED = ("as_of", "children", "sweep", "tables", "order_model")

TESTS: dict[str, tuple[str, ...]] = {
    "tap_stripe_events/changes": ("changes", "hidden_copies", "feed_children", "feed_deletes", "feed_types"),
    "tap_stripe_events/feed": FEED,
    "tap_stripe_events/backfill": ("backfill", "refused_detours"),
    "tap_stripe_events/bookmarks": ("bookmarks",),
    "target_postgres_stripe/apply": APPLIED,
    "target_postgres_stripe/fragments": APPLIED,
    "target_postgres_stripe/columns": ("columns", "tables"),
    "target_postgres_stripe/load": (*APPLIED, "drift", "state", "status"),
    "target_postgres_stripe/status": ("reading_state", "status", "state"),
}
"""The test files that ought to catch a mutant of a module: the fewest that know it."""


def copy_of(module: str) -> Path:
    """Make a copy of the code in which only one module is to be changed."""
    package, name = module.split("/")
    folder = "tap" if package.startswith("tap") else "target"
    copy = COPIES / name
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for each in COPIED:
        if (REPOSITORY / each).is_dir():
            shutil.copytree(REPOSITORY / each, copy / each, ignore=ignored)
        else:
            shutil.copy2(REPOSITORY / each, copy / each)
    tests = [f"tests/{folder}/test_{each}.py" for each in TESTS[module]]
    settings = f'only_mutate = ["{module}.py"]\npytest_add_cli_args_test_selection = {tests}\n'
    configuration = copy / "pyproject.toml"
    configuration.write_text(configuration.read_text().replace("[tool.mutmut]\n", f"[tool.mutmut]\n{settings}"))
    return copy


def mutate(module: str, only: list[str], environment: dict[str, str]) -> None:
    """Run the mutants of a module, or with `only` those of the last run that match again; tell what survived."""
    name = module.split("/")[1]
    copy = COPIES / name if only else copy_of(module)
    began = time.monotonic()
    command = [sys.executable, REPOSITORY / "scripts" / "mutations.py"]
    subprocess.run([*command, "run", "--max-children", "1", *only], cwd=copy, env=environment, check=True)
    report = subprocess.run([*command, "report"], cwd=copy, env=environment, check=True, capture_output=True, text=True)
    survivors = COPIES / f"{name}.txt"
    survivors.write_text(report.stdout)
    figures = report.stdout.splitlines()[0]
    print(f"{module}: {figures}; {time.monotonic() - began:.0f} s; see {survivors.relative_to(REPOSITORY)}", flush=True)


def main() -> None:
    """Mutate the named modules, or all."""
    parser = argparse.ArgumentParser(description="Change a module in one spot at a time, and see that a test fails.")
    parser.add_argument("modules", nargs="*", help=", ".join(each.split("/")[1] for each in TESTS))
    parser.add_argument("--only", action="append", default=[], help="mutants of the last run to run again")
    arguments = parser.parse_args()
    modules = [each for each in TESTS if not arguments.modules or each.split("/")[1] in arguments.modules]
    if len(modules) < len(arguments.modules):
        parser.error("no such module")
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from fix_postgres import SHARED_SERVER, running_server  # noqa: PLC0415 - found by the path above

    needs_postgres = any(each.startswith("target_postgres_stripe") for each in modules)
    with running_server() if needs_postgres else nullcontext() as cluster:
        environment = os.environ | ({SHARED_SERVER: cluster.url} if cluster else {})
        for module in modules:
            mutate(module, arguments.only, environment)


if __name__ == "__main__":
    main()
