"""Settlement: what counts for a response that reports its tokens, and for one that does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.budgets.prices import MAX_TOKENS, Price, Tokens
from authz.core.budgets.settlement import Basis, Settled, parse_report, settle
from authz.core.budgets.terms import TOTAL, Terms, Weights, parse_terms
from authz.core.limits.key_limits import Owner
from authz.core.limits.reserved import Taken, charged_once_text, parse_reserved, reserved_text

PRICE = Price(1_000_000, 2_000_000, 500_000, 1_000_000, 2_000_000, 7)
TERMS = Terms(TOTAL, "2026-11", PRICE)
TOKENS = Taken(Owner.KEY, 800, 1_767_225_600_000, "tokens-month month tokens UTC")
MONEY = Taken(Owner.TENANT, 900, 1_767_225_600_000, "usd-month month usd Europe/Berlin")


def used(word, *, failed=False):
    """Return the basis, and the use of a budget of tokens and of one of money."""
    settled = settle(TERMS, parse_report(word), failed=failed)
    return settled.basis, settled.used(TOKENS), settled.used(MONEY)


@pytest.mark.parametrize(
    ("word", "failed", "expected"),
    [
        (b"complete:100:50:0:0:0", False, (Basis.REPORTED, 150, 207)),
        (b"complete:100:50:100:0:0", False, (Basis.REPORTED, 150, 157)),
        (b"complete:100:50:0:0:0", True, (Basis.REPORTED, 150, 207)),
        (b"complete:0:0:0:0:0", False, (Basis.REPORTED, 0, 7)),
        (b"partial:100:50:0:0:0", False, (Basis.ESTIMATED, 800, 900)),
        (b"partial:100:5000:0:0:0", False, (Basis.ESTIMATED, 5100, 10107)),
        (b"-", False, (Basis.ESTIMATED, 800, 900)),
        (b"none:0:0:0:0:0", False, (Basis.ESTIMATED, 800, 900)),
        (b"encoded:0:0:0:0:0", False, (Basis.ESTIMATED, 800, 900)),
        (b"-", True, (Basis.RETURNED, 0, 0)),
        (b"complete:-1:0:0:0:0", False, (Basis.ESTIMATED, 800, 900)),
        (b"complete:1:0:0:0", False, (Basis.ESTIMATED, 800, 900)),
        (b"complete:1e9:0:0:0:0", False, (Basis.ESTIMATED, 800, 900)),
        (b"complete:99999999999999:0:0:0:0", False, (Basis.ESTIMATED, 800, 900)),
    ],
)
def test_the_use_of_a_request(word, failed, expected):
    """A final report counts, an unfinished one at least as the estimate, none keeps it."""
    assert used(word, failed=failed) == expected


def test_a_report_that_is_not_plausible():
    """Such a report counts as the largest plausible one, and says so."""
    report = parse_report(b"complete:9999999999999:1:0:0:0")
    assert report is not None
    assert not report.is_plausible
    settled = settle(TERMS, report, failed=False)
    assert (settled.units, settled.is_plausible) == (MAX_TOKENS + 1, False)


@given(st.binary(max_size=80))
def test_any_bytes(word):
    """No word raises."""
    parse_report(word)


@given(numbers=st.lists(st.integers(0, MAX_TOKENS), min_size=5, max_size=5))
def test_without_a_price_the_estimate_of_money_stays(numbers):
    """A route with an estimate in money takes it also while no prices are in force."""
    word = b"complete:" + b":".join(b"%d" % number for number in numbers)
    settled = settle(Terms(TOTAL), parse_report(word), failed=False)
    assert settled.micro_dollars is None
    assert settled.used(MONEY) == MONEY.units
    assert settled.used(TOKENS) == settled.units
    assert settle(Terms(TOTAL), None, failed=True).used(MONEY) == 0


terms = st.builds(
    Terms,
    st.builds(Weights, *[st.integers(0, 1000)] * 5),
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,31}", fullmatch=True),
    st.builds(Price, *[st.integers(0, 10**12)] * 6),
) | st.builds(Terms, st.builds(Weights, *[st.integers(0, 1000)] * 5))


@given(found=terms)
def test_terms_are_read_as_they_were_written(found):
    """The text of terms has no blank and is parsed to equal terms."""
    assert " " not in str(found)
    assert parse_terms(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1,1,0,0;-", "1,1,0,0,0", "1,1,0,0,0;", "1,1,0,0,-1;-"),
        *("1,1,0,0,0;v,1,1,1,1,1", "1,1,0,0,0;V,1,1,1,1,1,1"),
        "1,1,0,0,0;v,1,1,1,1,1,9999999999999",
    ],
)
def test_terms_that_are_none(text):
    """Text that is not terms is refused."""
    with pytest.raises(ValueError, match="no "):
        parse_terms(text)


def test_what_was_taken_is_read_as_it_was_written():
    """The text of reservations has no blank and is parsed to the same."""
    text = reserved_text([TOKENS, MONEY])
    assert text == (
        "k!800!1767225600000!tokens-month~month~tokens~UTC;"
        "t!900!1767225600000!usd-month~month~usd~Europe/Berlin"
    )
    assert parse_reserved(text) == ((TOKENS, MONEY), "")
    assert parse_reserved("") == ((), "")
    name = "-_09azAZ" * 2 + "n" * 6
    assert parse_reserved(charged_once_text(text, name)) == ((TOKENS, MONEY), name)
    assert charged_once_text("", name) == ""


@pytest.mark.parametrize(
    "text",
    [
        *(";", "k", "k!0!1!a~month~usd", "x!1!1!a~month~usd", "k!1!1!a~month~requests"),
        *("k!1!1!a month usd", "k!-1!1!a~month~usd", "k!1!1!a~month~usd;", "k" * 5000),
        f"o!{'n' * 22};k!1!1!a~month~usd",
    ],
)
def test_a_reservation_that_is_none(text):
    """Text that is not a reservation is refused."""
    with pytest.raises(ValueError, match=r"reservation|long"):
        parse_reserved(text)


def test_the_sum_of_a_returned_request():
    """A returned request used nothing, whatever else is known."""
    assert Settled(Basis.RETURNED, Tokens(), 5, 5).used(TOKENS) == 0
