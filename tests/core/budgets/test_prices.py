"""Prices: the exact cost of a request, and the version that is in force."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.budgets.prices import (
    MAX_PRICE,
    MAX_TOKENS,
    OTHER,
    Price,
    PriceBook,
    PriceVersion,
    Tokens,
)
from authz.core.errors import BadInput

NUMBERS = st.lists(st.integers(0, 2 * MAX_TOKENS), min_size=5, max_size=5)
PRICES = st.builds(Price, *[st.integers(0, MAX_PRICE)] * 6)
MINI = Price(150_000, 600_000, 75_000, 150_000, 600_000)


@given(price=PRICES, numbers=NUMBERS)
def test_the_cost_is_exact_and_rounded_up_once(price, numbers):
    """The cost is that of fractions, rounded up: never less, and less than a micro-dollar more."""
    tokens = Tokens.of_report(numbers)
    plain = tokens.input - tokens.cached - tokens.cache_write
    exact = (
        Fraction(plain * price.input, 10**6)
        + Fraction(tokens.cached * price.cached, 10**6)
        + Fraction(tokens.cache_write * price.cache_write, 10**6)
        + Fraction((tokens.output - tokens.reasoning) * price.output, 10**6)
        + Fraction(tokens.reasoning * price.reasoning, 10**6)
    )
    assert price.cost(tokens) == math.ceil(exact) + price.per_request


@given(numbers=NUMBERS)
def test_a_part_is_never_more_than_its_whole(numbers):
    """No number of a report becomes negative or exceeds the bound."""
    tokens = Tokens.of_report(numbers)
    assert min(tokens) >= 0
    assert tokens.cached + tokens.cache_write <= tokens.input <= MAX_TOKENS
    assert tokens.reasoning <= tokens.output <= MAX_TOKENS


@given(price=PRICES, numbers=NUMBERS)
def test_the_estimate_is_an_upper_bound(price, numbers):
    """No mixture of so many tokens costs more than `at_most` says."""
    tokens = Tokens.of_report(numbers)
    assert price.cost(tokens) <= price.at_most(tokens.total)


def test_an_example():
    """1,000 input tokens, 400 of them cached, and 200 output tokens of a small model."""
    assert MINI.cost(Tokens(1000, 200, cached=400)) == 90 + 30 + 120


def test_versions():
    """A version is in force from its beginning to that of the next one."""
    early, late = PriceVersion("a", 1000, {}, None), PriceVersion("b", 2000, {}, MINI)
    book = PriceBook([late, early])
    assert [book.at(now) for now in (999, 1000, 1999, 2000, 9999)] == [
        *(None, early, early),
        *(late, late),
    ]


def test_a_model_without_a_price():
    """Such a model has the default price under a common name, or none."""
    priced = PriceVersion("a", 0, {"mini": MINI}, MINI._replace(input=1))
    assert priced.of("mini") == ("mini", MINI)
    assert priced.of("another") == (OTHER, MINI._replace(input=1))
    assert priced.of("") == (OTHER, MINI._replace(input=1))
    assert PriceVersion("a", 0, {}, None).of("another") is None


@pytest.mark.parametrize(("name", "start"), [("a", 2000), ("b", 1000)])
def test_versions_that_cannot_be_told_apart(name, start):
    """Two versions of one name, or of one beginning, are refused."""
    with pytest.raises(BadInput):
        PriceBook([PriceVersion("a", 1000, {}, None), PriceVersion(name, start, {}, None)])
