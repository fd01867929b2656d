"""Random plans, and what they are charged."""

from hypothesis import strategies as st

from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage, parse_limit
from authz.core.limits.limit_counters import LEASABLE

AMOUNTS = st.integers(1, 40) | st.integers(300, 1500)  # too small for leases, and not

PERIODS = (
    "s",
    "min",
    "h",
    "d",
    "calendar-day",
    "week@sunday",
    "month",
    "month@15",
    "year@04-01",
    "once",
)

BEGIN = 1_763_779_999_000_000  # a second before a minute


@st.composite
def limits(draw):
    """The limits of one account: at most four, of all kinds."""
    found = []
    for index in range(draw(st.integers(1, 4))):
        amount = draw(AMOUNTS)
        per = draw(st.sampled_from(PERIODS))
        size = "large" if amount >= LEASABLE else "small"  # of the large one bucket more is kept
        text = f"{size}{index}={amount}/{per}"
        if per in {"s", "min", "h", "d"}:
            if draw(st.integers(0, 3)) == 0:
                text += f",burst={draw(st.integers(1, 2 * amount))}"  # above it: a token bucket
        elif per != "once" and draw(st.booleans()):
            text += ",zone=Europe/Berlin"
        if draw(st.integers(0, 2)) == 0:
            text += ",cost_of=request"
        if draw(st.integers(0, 3)) == 0:
            text += ",enforce=false"
        found.append(parse_limit("limits", text))
    return tuple(found)


@st.composite
def terms(draw):
    """The limits of a key: its own, and at most two pools."""
    owners = draw(st.sampled_from(((0,), (0, 1), (0, 2), (0, 1, 2), (1,))))
    named = [(Owner.KEY, "k" * 16), (Owner.PROJECT, "search"), (Owner.TENANT, "acme")]
    accounts = tuple(LimitGroup(*named[i], draw(limits())) for i in owners)
    return KeyLimits(accounts, OnOutage.LOCAL)


def make_terms(*texts, on_outage=OnOutage.LOCAL, kid="k" * 16):
    """A key with these limits."""
    found = tuple(parse_limit("limits", text) for text in texts)
    return KeyLimits((LimitGroup(Owner.KEY, kid, found),), on_outage)


def steps():
    """How far the clock goes on: within a bucket, over some, over whole windows, over periods."""
    return (
        st.integers(0, 20_000)
        | st.integers(0, 2_000_000)
        | st.integers(0, 120_000_000)
        | st.integers(0, 40 * 86_400_000_000)
    )
