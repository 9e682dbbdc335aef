"""How many examples a property is tried on: few in the suite, always the same; with `make fuzz` many, and new ones.

`EXAMPLES` in the environment says how many, and so that it is fuzzing.
"""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("EXAMPLES") or 0)


def load_profile():
    """Have every property test decide by itself how many examples it takes, and fail the same way twice."""
    # How long an example takes depends on what else the machine does; the tests' own time limit is enough.
    settings.register_profile("suite", deadline=None, derandomize=True)
    settings.register_profile("fuzzing", deadline=None, print_blob=True)
    settings.load_profile("fuzzing" if EXAMPLES else "suite")


def examples(few):
    """Settings for a property: `few` examples in the suite.

    A database is made once for all of them, so they begin by emptying it.
    """
    unhealthy = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=EXAMPLES or few, suppress_health_check=unhealthy)
