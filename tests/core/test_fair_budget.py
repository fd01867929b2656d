"""FairBudget: the rate holds, and no address can use up what others need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.fair_budget import FairBudget

ADDRESSES = [f"192.0.2.{number}" for number in range(6)]


@given(
    rate=st.integers(1, 20),
    asked=st.lists(st.tuples(st.sampled_from(ADDRESSES), st.floats(0, 0.3)), max_size=200),
)
def test_the_rate_holds(rate, asked):
    """In no second that the budget began does it give more tokens than the rate."""
    budget, now, given_at = FairBudget(rate), 1000.0, []
    for address, pause in asked:
        now += pause
        if budget.take(address, now):
            given_at.append(now)
    for start in given_at:
        # Two of the budget's own seconds may touch a second that begins anywhere.
        assert sum(start <= at < start + 1 for at in given_at) <= 2 * rate


def test_a_lone_address_gets_the_whole_rate_at_first_and_most_of_it_later():
    """1/8 of the rate is kept for newcomers."""
    budget = FairBudget(80)
    taken = [sum(budget.take("192.0.2.1", second) for _ in range(500)) for second in range(3)]
    assert taken == [80, 70, 70]


def test_a_newcomer_gets_tokens_beside_a_flood():
    """Nine addresses that flood leave tokens to one that comes a second later."""
    budget, floods = FairBudget(80), [f"198.51.100.{number}" for number in range(9)]
    for second in range(3):
        for _ in range(100):
            for address in floods:
                budget.take(address, second)
    assert sum(budget.take("192.0.2.1", 2.5) for _ in range(7)) == 7


def test_equal_shares():
    """Addresses that all ask without pause get the same number of tokens."""
    budget = FairBudget(80)
    for second in range(2):
        taken = {
            address: sum(budget.take(address, second) for _ in range(100)) for address in ADDRESSES
        }
    assert set(taken.values()) == {70 // 6}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "unknown", True),
        ("x" * 65, "1" * 65, True),
    ],
)
def test_addresses_that_count_as_one(one, other, same):
    """An IPv6 /64 network, a mapped address, and text that is no address."""
    budget = FairBudget(8)
    budget.take(one, 0)
    budget.take(other, 0)
    assert len(budget._taken) == (1 if same else 2)
