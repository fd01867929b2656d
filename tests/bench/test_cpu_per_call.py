"""The processor time of a call is measured in whole sidecars."""

import math
import os

from tests.bench import cpu_per_call


def test_every_case_is_measured_for_each_tree():
    """One short round in a real sidecar. Each key that is measured is allowed."""
    cores = os.sched_getaffinity(0)
    try:
        with cpu_per_call.subject(cpu_per_call.TREE) as here:
            found = cpu_per_call.measure([here, here], rounds=1, calls=50)
    finally:
        os.sched_setaffinity(0, cores)
    assert set(found) == set(cpu_per_call.cases("", ""))
    assert all(len(costs) == 2 and all(map(math.isfinite, costs)) for costs in found.values())
