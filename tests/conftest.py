"""Fixtures of all tests live in ``fix_*.py`` modules, one a concern."""

pytest_plugins = ["fix_postgres", "fix_sandbox"]
