"""Throttles: lowered rates, and texts that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import parse_limit, parse_limits
from authz.core.limits.throttle import LEAST, MAX_MS, MOST, Throttle, of_stored, parse
from tests.support.fakes import NOW, make_record

THROTTLES = st.builds(Throttle, st.integers(LEAST, MOST), st.integers(0, 2**40))


@given(THROTTLES, st.integers(1, 1_000_000), st.none() | st.integers(1, 1_000_000))
def test_a_lowered_limit(throttle, most, burst):
    """The lowered limit is at least 1 and never above the limit. A token bucket stays one."""
    text = f"{most}/s" if burst is None else f"{most}/s,burst={burst}"
    limit = parse_limit("limits", text)
    lowered = throttle.lowered(limit)
    assert 1 <= lowered.limit <= max(1, limit.limit)
    assert lowered.limit == max(1, most * throttle.percent // 100)
    assert (lowered.name, lowered.per) == (limit.name, limit.per)
    assert lowered.is_token_bucket == limit.is_token_bucket
    assert parse_limit("limits", str(lowered)) == lowered


@pytest.mark.parametrize(
    "text", ["1000/month", "100/calendar-day", "500/once", "5.00/month,of=usd", "9/month,of=tokens"]
)
def test_quotas_stay(text):
    """Quotas, budgets and credits are not lowered: they may be used up by then."""
    limit = parse_limit("limits", text)
    assert Throttle(25, NOW).lowered(limit) == limit


def test_the_end():
    """The rates of key and plan are lowered until the end; pools never are."""
    limits = parse_limits("limits", ("20/s",))
    policy = LimitPolicy(
        plans={"gold": parse_limits("limits", ("100/min",))}, tenants={"acme": limits}
    )
    record = make_record(
        plan="gold", tenant_id="acme", limits=limits, throttle=Throttle(50, NOW + 1000)
    )

    def amounts(now):
        return [limit.limit for limit in policy.of(record, now).limits]

    assert amounts(NOW + 999) == [50, 10, 20]
    assert amounts(NOW + 1000) == [100, 20, 20]


@given(THROTTLES)
def test_the_stored_text(throttle):
    """A stored throttle is read as it was written."""
    assert of_stored(throttle.stored()) == throttle


@pytest.mark.parametrize(
    "text", ["", "25", "25@", "5@1", "24@1", "100@1", "25@-1", "25%@1", "٢٥@1"]
)
def test_other_stored_texts(text):
    """A garbled throttle is no throttle: the record is unreadable, so nothing is allowed."""
    with pytest.raises(ValueError, match="throttle"):
        of_stored(text)


def test_a_text():
    """The text of the command has a percentage and a duration."""
    assert parse("--throttle", "25%:6h", NOW) == Throttle(25, NOW + 6 * 3_600_000)
    assert parse("--throttle", "99%:30d", NOW) == Throttle(99, NOW + MAX_MS)


@pytest.mark.parametrize("text", ["24%:6h", "100%:6h", "25%", "25:6h", "25%:0", "25%:31d", "25%:x"])
def test_texts_that_are_refused(text):
    """A throttle of nothing, without an end, or of more than 30 days is refused."""
    with pytest.raises(BadInput):
        parse("--throttle", text, NOW)
