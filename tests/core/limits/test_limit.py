"""Limits as text: what is accepted has one canonical text, and what is refused says why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.limits import limit
from authz.core.limits.limit import (
    CostOf,
    Limit,
    OnOutage,
    parse_cost,
    parse_limit,
    parse_limits,
    parse_on_outage,
)
from authz.core.limits.periods import DAY, ONCE, SECOND, Calendar
from tests.support.limits import any_limit


@given(any_limit())
def test_a_limit_is_what_its_text_says(limit):
    """A limit's text gives the same limit back, and fits where words are split at blanks."""
    text = str(limit)

    assert parse_limit("limit", text) == limit
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & {" ", '"', "\\"}


@given(st.text(max_size=40) | st.from_regex(limit._NAME) | any_limit().map(str))
def test_whatever_is_read_has_one_text(text):
    """Any text is refused with BadInput, or is a limit whose text reads the same."""
    try:
        limit = parse_limit("limit", text)
    except BadInput:
        return

    assert parse_limit("limit", str(limit)) == limit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("10/s", Limit(name="second", limit=10, per=SECOND)),
        ("10/week@sunday", Limit(name="week", limit=10, per=Calendar(6, every="week"))),
        ("10000/once", Limit(name="credits", limit=10_000, per=ONCE)),
        ("trial=1000000000000/once", Limit(name="trial", limit=10**12, per=ONCE)),
        ("1/year@04-01", Limit(name="year", limit=1, per=Calendar(401, every="year"))),
        ("50/s,burst=100", Limit(name="second", limit=50, per=SECOND, burst=100)),
        ("50000/d", Limit(name="day", limit=50_000, per=DAY)),
        ("100000/calendar-day", Limit(name="calendar-day", limit=100_000, per=Calendar())),
        ("1000000/month@15", Limit(name="month", limit=1_000_000, per=Calendar(15))),
        (
            "peak=10/s,burst=3,cost_of=request,enforce=false",
            Limit(
                name="peak",
                limit=10,
                per=SECOND,
                burst=3,
                cost_of=CostOf.REQUEST,
                enforce=False,
            ),
        ),
        (
            "500/calendar-day,zone=Europe/Berlin",
            Limit(name="calendar-day", limit=500, per=Calendar(None, "Europe/Berlin")),
        ),
    ],
)
def test_parse(text, limit):
    """Common texts parse to the limits that people mean, and are canonical."""
    assert parse_limit("limit", text) == limit
    assert str(limit) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("second=10/s", "10/s"),
        ("10/month@1", "10/month"),
        ("10/week@mon", "10/week"),
        ("credits=10/once", "10/once"),
        ("10/year@01-01", "10/year"),
        ("10/s,cost_of=unit,enforce=true", "10/s"),
        ("10/month,zone=UTC", "10/month"),
        ("10/s,enforce=false,burst=3", "10/s,burst=3,enforce=false"),
    ],
)
def test_canonical(text, canonical):
    """The canonical text leaves out defaults and has its options in one order."""
    assert str(parse_limit("limit", text)) == canonical


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ten/s", "'ten/s' is not a limit, such as 10/s, 5000/h or 1000000/month@15"),
        ("", "is not a limit"),
        ("10", "is not a limit"),
        ("/s", "is not a limit"),
        ("10/", "is not a limit"),
        ("=10/s", "is not a limit"),
        ("1e3/s", "is not a limit"),
        ("10.5/s", "is not a limit"),
        ("\u0663/s", "is not a limit"),
        ("10 /s", "is not a limit"),
        ("5/fortnight", "'fortnight' is not a period"),
        ("10/s/s", "'s/s' is not a period"),
        ("0/s", "'0/s': a limit is a whole number from 1 to 1000000000"),
        ("-5/s", "a limit is a whole number from 1 to 1000000000"),
        ("007/s", "a limit is a whole number from 1"),
        ("1000000001/s", "a limit is a whole number from 1 to 1000000000"),
        ("1000000000001/month", "a limit is a whole number from 1 to 1000000000000"),
        ("9" * 5000 + "/s", "a limit is a whole number from 1"),
        ("5/month@31", "month@31: a month begins on a day that every month has, 1 to 28"),
        ("10/s,burst=1000000001", "a burst is from 1 to 1000000000"),
        ("10/s,burst=0", "a burst is from 1 to 1000000000"),
        ("10/s,burst=many", "a burst is from 1 to 1000000000"),
        ("10/month,burst=3", "a burst goes with s, min, h or d, not with month"),
        ("10/s,zone=UTC", "a time zone goes with calendar-day, week, month or year, not with s"),
        ("10/month,zone=Mars", "'Mars' is not a time zone"),
        ("10/once,zone=UTC", "a time zone goes with calendar-day, week, month or year, not with"),
        ("10/once,burst=3", "a burst goes with s, min, h or d, not with once"),
        ("10/once@3", "'once@3' is not a period"),
        ("1000000000001/once", "a limit is a whole number from 1 to 1000000000000"),
        ("10/s,cost_of=token", "one of request, unit"),
        ("10/s,enforce=no", "true or false"),
        ("10/s,", "after the period come burst, cost_of, enforce, of, zone"),
        ("10/s,speed=3", "after the period come burst, cost_of, enforce, of, zone"),
        ("10/s,burst", "after the period come burst"),
        ("10/s,burst=3,burst=4", "after the period come burst"),
        ("Peak=10/s", "'Peak': a name is 1 to 32 of a-z 0-9 . _ -"),
        ("a b=10/s", "a name is 1 to 32"),
        ("a=b=10/s", "a name is 1 to 32"),
        ("x" * 33 + "=10/s", "a name is 1 to 32"),
        ("pool:x=10/s", "a name is 1 to 32"),
    ],
)
def test_refused(text, problem):
    """Text that is no limit is refused with one short line that names the problem."""
    with pytest.raises(BadInput) as refused:
        parse_limit("limit", text)

    assert problem in refused.value.problem
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 160


def test_names_are_unique():
    """Two limits of one name are refused, two in one window are not."""
    with pytest.raises(BadInput, match="two limits are called second"):
        parse_limits("limit", ["10/s", "20/s"])

    assert len(parse_limits("limit", ["10/s", "try=5/s,enforce=false"])) == 2


def test_as_many_as_can_be_counted():
    """A key has at most eight limits."""
    eight = [f"n{index}=10/s" for index in range(8)]

    assert len(parse_limits("limit", eight)) == 8
    with pytest.raises(BadInput, match="at most 8 limits"):
        parse_limits("limit", [*eight, "10/h"])


@pytest.mark.parametrize(("cost", "units", "requests"), [(0, 0, 0), (1, 1, 1), (5, 5, 1)])
def test_charge(cost, units, requests):
    """A request takes its cost, or counts as one; what is free takes nothing from either."""
    assert parse_limit("limit", "10/s").charge(cost) == units
    assert parse_limit("limit", "10/s,cost_of=request").charge(cost) == requests


@pytest.mark.parametrize(("text", "cost"), [("0", 0), ("1", 1), ("1000000", 1_000_000)])
def test_cost(text, cost):
    """A cost is a whole number of units, and may be none."""
    assert parse_cost("cost", text) == cost


@pytest.mark.parametrize("text", ["", "-1", "1.5", "five", "01", "1000001", "\u0663", "9" * 5000])
def test_no_cost(text):
    """Text that is not a whole number from 0 to 1000000 is refused as a cost."""
    with pytest.raises(BadInput, match="a cost is a whole number from 0 to 1000000"):
        parse_cost("cost", text)


def test_on_outage():
    """`local`, `allow` and `deny` are accepted, and nothing else."""
    assert [parse_on_outage("x", word) for word in ("local", "allow", "deny")] == list(OnOutage)
    with pytest.raises(BadInput, match="one of local, allow, deny"):
        parse_on_outage("on_outage", "open")
