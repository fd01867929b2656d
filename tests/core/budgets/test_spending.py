"""Spending of a route: its estimate, its formula, and what its requests take."""

import pytest

from authz.core.budgets.prices import MAX_TOKENS, Price, PriceVersion
from authz.core.budgets.spending import Spending, is_model, parse_estimate, parse_settle
from authz.core.budgets.terms import NOTHING, TOTAL, Weights
from authz.core.errors import BadInput
from authz.core.limits.amounts import MAX_TAKEN, Amounts, dollars, micro_dollars

PRICE = Price(1_000_000, 4_000_000, 500_000, 1_000_000, 4_000_000, 10)
PRICES = PriceVersion("v1", 0, {"mini": PRICE}, None)


def test_without_prices():
    """Tokens are reserved, and the money is not known."""
    priced = Spending(800).priced("mini", None)
    assert priced is not None
    assert (priced.amounts, priced.model) == (Amounts(1, 800, None), "")
    assert priced.terms == "1,1,0,0,0;-"


def test_with_prices():
    """Money is reserved as if every token were of the most expensive kind."""
    priced = Spending(800, units=2).priced("mini", PRICES)
    assert priced is not None
    assert (priced.amounts, priced.model) == (Amounts(2, 800, 3210), "mini")
    assert priced.terms == "1,1,0,0,0;v1,1000000,4000000,500000,1000000,4000000,10"
    assert Spending(800).priced("another", PRICES) is None


def test_an_estimate_in_money():
    """An estimate in money takes no tokens, and is as given."""
    priced = Spending(2500, weights=NOTHING, in_usd=True).priced("mini", PRICES)
    assert priced is not None
    assert priced.amounts == Amounts(1, 0, 2500)
    free = Spending(2500, weights=NOTHING, in_usd=True).priced("mini", None)
    assert free is not None
    assert free.amounts == Amounts(1, 0, 2500)


def test_an_estimate_beyond_the_largest_charge():
    """A request takes at most what a counter can be charged at once."""
    dear = PriceVersion("v1", 0, {}, Price(*[10**12] * 5))
    priced = Spending(MAX_TOKENS).priced("", dear)
    assert priced is not None
    assert priced.amounts.usd == MAX_TAKEN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("total_tokens", TOTAL),
        ("usd", None),
        ("input_tokens*1 + output_tokens*3", Weights(1, 3)),
        ("input_tokens+output_tokens * 3", Weights(1, 3)),
        ("output_tokens", Weights(output=1)),
        ("reasoning_tokens*2+cached_tokens+cache_write_tokens*4", Weights(0, 0, 1, 4, 2)),
    ],
)
def test_formulas(text, expected):
    """A formula is a sum of kinds of tokens, each with a factor."""
    assert parse_settle("settle", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "tokens", "input_tokens*", "input_tokens*1001", "input_tokens*0", "2*input_tokens"),
        *("input_tokens+input_tokens", "input_tokens-output_tokens", "input_tokens*1.5", "usd+usd"),
    ],
)
def test_formulas_that_are_none(text):
    """Text that is no formula is refused."""
    with pytest.raises(BadInput):
        parse_settle("settle", text)


@pytest.mark.parametrize("number", [0, -1, MAX_TOKENS + 1])
def test_estimates_that_are_none(number):
    """An estimate of nothing would let everything pass."""
    with pytest.raises(BadInput):
        parse_estimate("estimate", number)


def test_names_of_models():
    """Names of providers are models; text that could shift a log line is not."""
    names = ("gpt-4o", "models/gemini-2.0", "meta-llama/Llama-3:free", "a" * 128)
    assert all(map(is_model, names))
    assert not any(map(is_model, ("", "a b", "-a", "a\n", "ä", "a" * 129)))


@pytest.mark.parametrize(
    ("text", "micro"),
    [("12.50", 12_500_000), ("0.000001", 1), ("1000000", 10**12), ("3", 3_000_000)],
)
def test_dollars(text, micro):
    """Dollars are whole micro-dollars, written with two digits or more."""
    assert micro_dollars("budget", text) == micro
    assert micro_dollars("budget", dollars(micro)) == micro


@pytest.mark.parametrize("text", ["0", "0.0", "1000000.01", "1.0000001", ".5", "1.", "-1", "1e3"])
def test_amounts_that_are_no_budget(text):
    """Less than a micro-dollar, more than a million dollars, and other text are refused."""
    with pytest.raises(BadInput):
        micro_dollars("budget", text)
