"""A short run of `python -m tests.metering`."""

from tests.metering.run import run


async def test_counted_is_answered():
    """Under faults every request counts once, and the store knows that none is missing."""
    report = await run(2.0, seed=5, meters=2)
    assert report.answered > 0
    assert report.differences == {}
    assert report.missing == 0
    assert report.faults.total() > 0
