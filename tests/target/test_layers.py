"""Lower layers never import higher ones, and the target does not know the tap."""

import ast
from pathlib import Path

import target_postgres_stripe

LAYERS = [
    {"errors"},
    {"columns", "text"},
    {"rows"},
    {"batch", "apply", "embedded"},
    {"tables", "connection"},
    {"status"},
    {"load", "reader"},
    {"sinks"},
    {"target"},
]
"""Lowest first; a module imports from lower layers only."""

ROOT = Path(target_postgres_stripe.__file__).parent


def imported(path):
    """The project's modules that a file imports, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_every_module_has_a_layer():
    assert {path.stem for path in ROOT.glob("*.py")} - {"__init__"} == set().union(*LAYERS)


def test_modules_import_from_lower_layers_only():
    for height, layer in enumerate(LAYERS):
        lower = set().union(*LAYERS[:height])
        for module in layer:
            ours = {
                name.split(".")[1]
                for name in imported(ROOT / f"{module}.py")
                if name.startswith("target_postgres_stripe.")
            }
            assert ours <= lower, f"{module} imports {ours - lower}"


def test_the_target_imports_neither_tap_nor_sandbox():
    for path in ROOT.glob("*.py"):
        assert not {name for name in imported(path) if name.startswith(("tap_stripe_events", "stripe_sandbox"))}
