"""A short run of `python -m tests.counting`."""

from functools import partial

from tests.chaos.clusters import Hit, fail_over, kill
from tests.counting.run import run

SEED = 20261130


def two_changes(_dice, _cluster):
    """Return a change of the owner that may lose counts, and one in good order."""
    return [Hit(kill), Hit(partial(fail_over, how=""))]


async def test_counts_survive_changes_of_the_owner():
    """No window holds more than its limit, each entry counts once, and every mutant is caught."""
    report = await run(SEED, 1, sidecars=2, choose=two_changes)

    assert report.violations == []
    assert all(report.caught.values())
    assert report.untried == []
    assert report.faults.total() == 2
