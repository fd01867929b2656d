"""The measurement of imports measures imports."""

from tests.bench.import_keys import run


def test_the_measurement_runs() -> None:
    """Every key is imported once, and found there the second time."""
    found = run(150)
    assert found["keys"] == 150
    assert found["seconds"] > 0
