"""Many processes spend from the same limits. `make limits` is the long run."""

import pytest

from tests.spending.fleet import Fleet


def test_no_window_holds_more_than_the_limit():
    """Four processes, killed and paused, under five times the load: never over, nearly all used."""
    outcome = Fleet(4, 5.0).run(5, faults=True)

    assert outcome.violations == []
    assert min(outcome.admitted) > 0


@pytest.mark.parametrize("store", ["fixed", "racing"])
def test_the_judge_sees_a_store_that_counts_wrong(store):
    """Fixed windows, and a look before the taking: both let too many pass, and both are seen."""
    outcome = Fleet(4, 5.0, "--store", store).run(4, faults=False)

    assert outcome.violations
