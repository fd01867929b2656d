"""The measurements of telemetry still measure."""

from typing import Any

from tests.bench import flood, telemetry
from tests.support.stalls import conclusive


def test_each_kind_of_telemetry_is_compared() -> None:
    """A moment of each, whatever it takes: the figures are for `make bench`."""

    def is_sane(found: dict[str, Any]) -> bool:
        return all(0.1 < case["ratio"] < 10 for case in found.values())

    found = conclusive(lambda: telemetry.run(seconds=0.05), is_sane)
    assert set(found) == set(telemetry.LIMITS)
    assert is_sane(found)


def test_a_flood_is_measured() -> None:
    """Good keys get through it, and garbage does not."""
    found = conclusive(
        lambda: flood.run(seconds=0.3, flood_seconds=1, rounds=2),
        lambda found: found["checks"] > 100 and found["lines"] < 20,
    )
    assert found["checks"] > 100
    assert found["lines"] < 20
    assert set(found) >= set(flood.LIMITS)
