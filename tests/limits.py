"""Limits of every kind."""

from hypothesis import strategies as st

from authz.core.limits import MAX_LIMIT, MAX_LIMITS, MAX_QUOTA, CostOf, Limit, parse_all
from authz.core.periods import MAX_ANCHOR, SLIDING, Calendar

NAMES = st.from_regex(r"[a-z][a-z0-9._-]{0,31}", fullmatch=True)


def limits(*texts):
    """Limits by their texts."""
    return parse_all("limits", texts)


@st.composite
def any_limit(draw):
    """Any limit that there may be."""
    sliding = draw(st.booleans())
    if sliding:
        per = draw(st.sampled_from(sorted(SLIDING.values(), key=str)))
        amount = draw(st.integers(1, MAX_LIMIT))
    else:
        zone = draw(st.sampled_from(["UTC", "Europe/Berlin", "Etc/GMT+12"]))
        per = Calendar(draw(st.none() | st.integers(1, MAX_ANCHOR)), zone)
        amount = draw(st.integers(1, MAX_QUOTA))
    return Limit(
        name=draw(st.just(per.name) | NAMES),
        limit=amount,
        per=per,
        burst=draw(st.none() | st.integers(1, amount)) if sliding else None,
        cost_of=draw(st.sampled_from(CostOf)),
        enforce=draw(st.booleans()),
    )


def any_limits():
    """What a key may have."""
    return st.lists(any_limit(), max_size=MAX_LIMITS, unique_by=lambda limit: limit.name).map(tuple)
