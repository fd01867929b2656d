"""A budget with two real sidecars, Envoy, meter and store. `make budgets-real` has every case."""

import pytest

from tests.spending.real_budgets import keeps, play


@pytest.mark.timeout(240)
async def test_the_promises_hold():
    """200 requests at a time, and 5 % of the usage lost: real use is within the promised bound."""
    found = await play(200_000, 1, [("mean", 0.05), ("most", 0.05)])
    assert all(keeps(*case, outcome) for case, outcome in found.items())
    assert found["most", 0.05].used > 100_000
