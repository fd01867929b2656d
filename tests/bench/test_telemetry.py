"""The measurements of telemetry still measure."""

from tests.bench import flood, telemetry


def test_each_kind_of_telemetry_is_compared() -> None:
    """A moment of each, whatever it takes: the figures are for `make bench`."""
    found = telemetry.run(seconds=0.05)
    assert set(found) == set(telemetry.LIMITS)
    assert all(0.1 < case["ratio"] < 10 for case in found.values())


def test_a_flood_is_measured() -> None:
    """Good keys get through it, and garbage does not."""
    found = flood.run(seconds=0.3, flood_seconds=1, rounds=2)
    assert found["checks"] > 100
    assert found["lines"] < 20
    assert set(found) >= set(flood.LIMITS)
