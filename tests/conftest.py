"""Fixtures of all tests live in ``fix_*.py`` modules, one a concern."""

import fuzzing

pytest_plugins = ["fix_postgres", "fix_sandbox"]

fuzzing.load_profile()
