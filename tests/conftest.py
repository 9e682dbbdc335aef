"""Fixtures of all tests live in ``fix_*.py`` modules, one a concern."""

from hypothesis import settings

pytest_plugins = ["fix_postgres", "fix_sandbox"]

# How long an example takes depends on what else the machine does; the tests' own time limit is enough.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
