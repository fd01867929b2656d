"""A short run of faults against real processes. `make chaos` is the long one, with random seeds."""

from tests.chaos.history import Outcome
from tests.chaos.run import run, run_on_cluster

SEED = 20261128


async def test_the_promises_hold_under_faults():
    """Under faults and load no ended key is allowed too late, and no good key is refused."""
    report = await run(SEED, 10, sidecars=2)

    assert report.violations == []
    assert sum(report.faults.values()) >= 2
    for verdict in report.verdicts["leased"]:
        assert verdict.outcomes[Outcome.ALLOW]
        assert verdict.outcomes[Outcome.REVOKED]


async def test_the_promises_hold_on_a_cluster():
    """No ended key is allowed too late by an owner that is cut off, or while the slot moves."""
    report = await run_on_cluster(SEED, 1, sidecars=1, faults=3, counts=[1])

    assert report.violations == []
    assert report.caught["trusting"]
    assert sum(report.faults.values()) == 3
    for verdict in report.verdicts["leased"]:
        assert verdict.outcomes[Outcome.ALLOW]
        assert verdict.outcomes[Outcome.REVOKED]


async def test_the_promises_hold_with_eight_partitions():
    """A shard that is cut off ends no other, and each change reaches the cache of its partition."""
    report = await run_on_cluster(SEED, 1, sidecars=1, faults=2, counts=[8])

    assert report.violations == []
    assert report.caught["first alone"]
    assert sum(report.faults.values()) == 2
    for verdict in report.verdicts["leased"]:
        assert verdict.outcomes[Outcome.ALLOW]
        assert verdict.outcomes[Outcome.REVOKED]
        assert verdict.tried["within reach"]
