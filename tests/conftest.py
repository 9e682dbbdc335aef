"""Fixtures of all tests live in ``fix_*.py`` modules, one a concern."""

import fuzzing

pytest_plugins = ["fix_postgres", "fix_tls", "fix_sandbox", "fix_target", "fix_proxy"]

fuzzing.load_profile()
