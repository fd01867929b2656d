"""Learned estimates: steps, summaries, bounds, and the requests from which they are learned."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.budgets.learned import (
    LEAST,
    STEPS,
    Distribution,
    Estimates,
    Guess,
    Learned,
    Statistic,
    Summary,
    merged,
    parse_learned,
    step_of,
)
from authz.core.budgets.prices import Price, PriceVersion
from authz.core.budgets.spending import Spending, parse_learned_bounds
from authz.core.errors import BadInput
from authz.core.limits.amounts import Amounts
from authz.core.usage.commit import Commit
from tests.core.usage.test_token_use import entry
from tests.support.usage import committed

PRICES = PriceVersion("v1", 0, {"mini": Price(*[1_000_000] * 5)}, None)
LEARNS = Spending(4096, least=100, learned=Statistic.MEAN)


@given(st.integers(0, STEPS[-1]))
def test_a_step_is_at_least_its_number_and_little_more(number):
    """Rounding up adds 9.1 % at most, or less than 1."""
    assert number <= STEPS[step_of(number)] <= max(number * 1.091, number + 1)


def test_numbers_beyond_the_last_step():
    """Such numbers count in the last step, and their sum is exact."""
    found = Distribution()
    found.add(STEPS[-1] * 10)
    assert (found.total, found.steps) == (STEPS[-1] * 10, {len(STEPS) - 1: 1})


@pytest.mark.parametrize(
    "text",
    [
        *("", "100 5 3", "100 5 3 100 5", "100 5 3 100 5 257", "-1 5 3 0 0 0", "a b c d e f"),
        *("100 5 3 100 5 3 ", "1e9 5 3 0 0 0", "100 5 3  100 5 3", "9" * 17 + " 5 3 0 0 0"),
    ],
)
def test_summaries_that_are_none(text):
    """Other text in the store is refused."""
    with pytest.raises(ValueError, match=r".+"):
        parse_learned(text)


def test_a_summary_of_the_store():
    """Units first, then micro-dollars; p95 is the largest number of its step."""
    learned = parse_learned("100 800 80 0 0 0")
    assert learned == Learned(Summary(100, 800, 1024), Summary(0, 0, 0))
    assert learned.units.of(Statistic.P95) == 1024
    assert learned.units.of(Statistic.MEAN) == 862
    assert learned.usd.of(Statistic.MEAN) is None


def test_nothing_is_learned_from_few_requests():
    """Below LEAST requests a mean says too little."""
    assert Summary(LEAST - 1, 800, 900).of(Statistic.MEAN) is None
    assert Summary(LEAST, 800, 900).of(Statistic.MEAN) is not None


def test_estimates_by_route_and_model():
    """Each route and model has its own; others have none."""
    estimates = Estimates()
    estimates.replace({("chat", "mini"): parse_learned("500 800 80 500 90 50")})
    assert estimates.of("chat", "mini", Statistic.MEAN) == Guess(862, 91)
    assert estimates.of("chat", "mini", Statistic.P95) == Guess(1024, 77)
    assert estimates.of("chat", "", Statistic.MEAN) == Guess(None, None)
    estimates.replace({})
    assert estimates.of("chat", "mini", Statistic.MEAN) == Guess(None, None)


@pytest.mark.parametrize(
    ("guess", "amounts"),
    [
        (Guess(None, None), Amounts(1, 4096, 4096)),
        (Guess(800, 300), Amounts(1, 800, 300)),
        (Guess(1, 1), Amounts(1, 100, 100)),
        (Guess(10**9, 10**9), Amounts(1, 4096, 4096)),
        (Guess(800, None), Amounts(1, 800, 4096)),
    ],
)
def test_an_estimate_stays_within_its_bounds(guess, amounts):
    """An estimate is from the floor to the most, and the most until something is learned."""
    priced = LEARNS.priced("mini", PRICES, guess)
    assert priced is not None
    assert priced.amounts == amounts


def test_a_learned_estimate_in_money():
    """With `settle: usd` the bounds are micro-dollars, and no prices are needed."""
    spending = Spending(5000, in_usd=True, learned=Statistic.P95, least=10)
    for prices in (PRICES, None):
        priced = spending.priced("mini", prices, Guess(7, 900))
        assert priced is not None
        assert priced.amounts == Amounts(1, 0, 900)


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [(None, 4096, (204, 4096)), (None, 5, (1, 5)), (7, 7, (7, 7))],
)
def test_bounds(least, most, expected):
    """The floor is 1/20 of the most, unless it is given."""
    assert parse_learned_bounds(least, most) == expected


@pytest.mark.parametrize(
    ("least", "most"), [(None, None), (5, None), (8, 7), (0, 7), (-1, 7), (1, 10_000_001), (1, 0)]
)
def test_bounds_that_are_none(least, most):
    """Without an upper bound nothing could be reserved before anything is learned."""
    with pytest.raises(BadInput):
        parse_learned_bounds(least, most)


def test_only_final_and_plausible_reports_are_learned():
    """An estimate that stays, and a report of too many tokens, say nothing about the real use."""
    commit = committed(
        entry("complete:100:50:0:0:0"),
        entry("partial:1:1:0:0:0"),
        entry("complete:9999999999999:0:0:0:0"),
        entry(),
        entry(code="503", flags="UH"),
    )
    (place,) = commit.learned
    assert place == ("models", "mini")
    learning = commit.learned[place]
    assert (learning.units.total, sum(learning.units.steps.values())) == (150, 1)
    assert (learning.usd.total, sum(learning.usd.steps.values())) == (203, 1)


def test_without_prices_no_money_is_learned():
    """The units are learned alone."""
    (learning,) = committed(entry("complete:9:0:0:0:0", settle="1,1,0,0,0;-")).learned.values()
    assert (learning.units.total, learning.usd.steps) == (9, {})


def test_lines_of_two_owners_are_learned_together():
    """The use of a route does not depend on the key."""
    commit = committed(entry("complete:1:0:0:0:0"), entry("complete:2:0:0:0:0", kid="Q" * 16))
    ((_, learning),) = commit.learned.items()
    assert learning.units.total == 3


def exact(numbers):
    """Mean and 95th percentile of numbers, from all of them."""
    order = sorted(numbers)
    return -(-sum(order) // len(order)), order[-(-len(order) * 95 // 100) - 1]


def test_a_distribution_knows_its_percentile():
    """The step of the 95th percentile is that of the exact one."""
    chance = random.Random(5)
    numbers = [int(chance.lognormvariate(6.4, 0.9)) for _ in range(3000)]
    found = Distribution()
    for number in numbers:
        found.add(number)
    below, step = 0, -1
    while below * 100 < len(numbers) * 95:
        step += 1
        below += found.steps.get(step, 0)
    assert step == step_of(exact(numbers)[1])
    assert Commit().learned == {}


NUMBERS = st.lists(st.integers(0, 2**20), min_size=1, max_size=50)


@given(parts=st.lists(NUMBERS, min_size=1, max_size=8))
def test_estimates_of_several_partitions(parts):
    """The mean is that of all requests, and no request above the percentile is one of many."""
    summaries = []
    for numbers in parts:
        found = Distribution()
        for number in numbers:
            found.add(number)
        mean, p95 = exact(numbers)
        summaries.append(Summary(len(numbers), mean, STEPS[step_of(p95)]))
    place = ("chat", "mini")
    (learned,) = merged([{place: Learned(one, one)} for one in summaries]).values()
    everything = [number for numbers in parts for number in numbers]
    assert learned.units.requests == len(everything)
    assert 0 <= learned.units.mean - exact(everything)[0] <= 1
    assert sum(number > learned.units.p95 for number in everything) <= len(everything) // 20


def test_estimates_of_a_partition_without_a_route():
    """A route that was used in one partition has the estimate of that one."""
    only = Learned(Summary(100, 5, 8), Summary(0, 0, 0))
    assert merged([{("chat", "mini"): only}, {}]) == {("chat", "mini"): only}
