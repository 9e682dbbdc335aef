"""mutmut as this project needs it; ``mutate.py`` calls it in a copy of the code.

What is added to it: mutants of SQL, which is text to mutmut; tests in the order of how long they take, as a mutant dies
by the first that fails; and examples of hypothesis that are always the same, and not looked for smaller ones.
"""

import re
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import libcst as cst
from mutmut.__main__ import cli
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.mutators import mutation_operators
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

MEMORY_BYTES_MAX = 4 * 2**30
"""A mutant that never ends may also never stop growing."""

_OPERAND = r"(?:\{[^{}]*\}|[^\s{}(),])+"
_COMPARED = rf"{_OPERAND} (?:=|<>|<|<=|>|>=|\?|IS DISTINCT FROM) {_OPERAND}"

SQL = (
    (rf"\b(AND|WHERE) (?:NOT )?(?:{_COMPARED}|\{{[^{{}}]*\}})(?=[ )]|$)", r"\1 true"),
    (r" AND ", " OR "),
    (r" OR ", " AND "),
    (r" IS NOT NULL", " IS NULL"),
    (r" IS NULL", " IS NOT NULL"),
    (r"NOT EXISTS", "EXISTS"),
    (r" NOT (?!EXISTS|NULL|DISTINCT|IN\b|MATERIALIZED)", " "),
    (r"IS DISTINCT FROM", "IS NOT DISTINCT FROM"),
    (r" <= ", " < "),
    (r" < ", " <= "),
    (r" >= ", " > "),
    (r" > ", " >= "),
    (r"greatest\(", "least("),
    (r" DESC\b", ""),
)
"""What SQL is changed into, one spot at a time; a condition that is true is one that is left out."""


def changed_sql(node: cst.FormattedString | cst.SimpleString) -> Iterator[cst.BaseExpression]:
    """Yield a string with one spot of the SQL in it changed."""
    code = cst.Module([]).code_for_node(node)
    quote = node.end if isinstance(node, cst.FormattedString) else node.quote
    begin, end = code.index(quote) + len(quote), len(code) - len(quote)
    for pattern, replacement in SQL:
        for found in re.compile(pattern).finditer(code, begin, end):
            yield cst.parse_expression(code[: found.start()] + found.expand(replacement) + code[found.end() :])


def pytest_configure() -> None:
    """Choose examples of hypothesis, as a plugin of pytest."""
    from hypothesis import Phase, settings  # noqa: PLC0415 - pytest wants to import it first

    phases = [Phase.explicit, Phase.generate]
    settings.register_profile("mutants", deadline=None, derandomize=True, database=None, phases=phases)
    settings.load_profile("mutants")


def pytest_runtest_setup() -> None:
    """Forget what functions of the code have cached: a mutant is begun in the middle of a process."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("tap_stripe_events", "target_postgres_stripe")):
            for each in vars(module).values():
                if callable(clear := getattr(each, "cache_clear", None)):
                    clear()


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Put quick tests first, as a plugin of pytest."""
    items.sort(key=lambda item: state().duration_by_test.get(item.nodeid, 0))


def report() -> None:
    """Print how many mutants ended how, and the differences that those make that were not caught."""
    ends: Counter[str] = Counter()
    differences = []
    for path in walk_mutatable_files():
        mutants = SourceFileMutationData(path=path)
        mutants.load()
        for name, exit_code in mutants.exit_code_by_key.items():
            end = status_by_exit_code[exit_code]
            ends[end] += 1
            if end not in {"killed", "timeout", "not checked"}:
                differences.append(f"# {name}: {end}\n{get_diff_for_mutant(name, path=path)}\n")
    print(f"{ends.total()} mutants: " + ", ".join(f"{count} {end}" for end, count in ends.most_common()))
    print(*differences, sep="\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["report"]:
        report()
    else:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
        mutation_operators.append((cst.FormattedString, changed_sql))
        mutation_operators.append((cst.SimpleString, changed_sql))
        cli()
