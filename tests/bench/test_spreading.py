"""The benches of changes and outages run, and say what they should."""

from tests.bench import burst, propagation


async def test_propagation():
    """Every sidecar has applied every change, after the store began with it."""
    found = await propagation.measure(sidecars=4, processes=2, changes=10)
    assert (found["sidecars"], found["changes"]) == (4, 10)
    spread = found["taken_to_applied_ms"]
    assert 0 < spread["p50"] <= spread["max"] == found["taken_to_applied_by_the_last_ms"]["max"]


async def test_burst():
    """All changes are applied after the pause, and nothing was forgotten."""
    found = await burst.measure(300, 0.0)
    assert (found["subscribers_dropped"], found["flushes"]) == (0, 0)
    assert found["converged_seconds"] > 0
