"""Where a change stands, by what the sidecars said and how long ago."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.sidecars import SPOKE_BEFORE_MS, FormerGrace, Heard, Sidecar, confirmation
from tests.support.fakes import NOW

LEASE, GRACE = 1000, 30_000


def make_heard(silent_ms=0, **overrides):
    """A sidecar that has applied change 7."""
    said = {
        "instance": "web-1",
        "version": "0.1.0",
        "address": "127.0.0.1:9191",
        "started_at": NOW,
        "applied": 7,
        "lease_ms": LEASE,
        "grace_ms": GRACE,
        "trusted": True,
        "reason": "",
        "entries": 3,
    }
    return Heard(Sidecar(**said | overrides), silent_ms)


def test_whoever_has_applied_it_has_confirmed_it():
    """A sidecar that has applied this change or a later one has confirmed it."""
    found = confirmation([make_heard(), make_heard(applied=9)], 7, None, 4, NOW)

    assert (found.confirmed, found.sidecars, found.is_complete, found.elapsed_ms) == (2, 2, True, 4)


@pytest.mark.parametrize(
    ("grace", "silent", "elapsed", "left"),
    [
        (None, 0, 0, LEASE + GRACE),
        (None, 0, 400, LEASE + GRACE - 400),  # by the age of the change
        (None, 5000, 400, LEASE + GRACE - 5000),  # by its silence, which is longer
        (0, 0, 400, LEASE - 400),
        (60_000, 10, 20, LEASE + 60_000 - 20),
    ],
)
def test_who_has_not_may_act_on_what_was_before_for_lease_and_grace(grace, silent, elapsed, left):
    """A sidecar is outstanding for lease and grace, from the change or its last entry."""
    found = confirmation([make_heard(silent, applied=6)], 7, grace, elapsed, NOW)

    assert [(o.may_allow_until, o.is_over) for o in found.outstanding] == [(NOW + left, False)]
    assert not found.is_complete


@pytest.mark.parametrize(
    ("applied", "left"),
    [
        (6, LEASE),
        (5, LEASE + GRACE),
        (4, LEASE + GRACE),
        (3, LEASE + 60_000),
        (None, LEASE + 60_000),
    ],
)
def test_who_knows_an_earlier_grace_goes_by_that(applied, left):
    """The longest that the key had since the last change that the sidecar has applied."""
    former = [FormerGrace(6, None), FormerGrace(4, 60_000), FormerGrace(2, 90_000)]
    if applied is None:
        former.pop()

    found = confirmation([make_heard(applied=applied)], 7, 0, 0, NOW, former=former)

    assert [o.may_allow_until - NOW for o in found.outstanding] == [left]


def test_a_time_that_is_over_completes_it():
    """A sidecar whose lease and grace are over is no longer outstanding."""
    found = confirmation([make_heard(100, applied=6), make_heard()], 7, 0, LEASE, NOW)

    assert (found.confirmed, found.sidecars, found.is_complete) == (1, 2, True)


def test_a_sidecar_that_ended_long_before_does_not_matter():
    """A sidecar that could not serve the key when it was changed is left out."""
    assert confirmation([make_heard(LEASE, applied=6)], 7, 0, 0, NOW).sidecars == 0
    assert confirmation([make_heard(LEASE + 20, applied=6)], 7, 0, 20, NOW).sidecars == 0
    assert confirmation([make_heard(LEASE, applied=6)], 7, None, 0, NOW).sidecars == 1


def test_a_word_from_before_the_change_confirms_nothing():
    """After a failover the same number may be another change."""
    heard = make_heard(SPOKE_BEFORE_MS + 21)

    assert confirmation([heard], 7, None, 20, NOW).confirmed == 0
    assert confirmation([heard], 7, None, 21, NOW).confirmed == 1


def test_a_sidecar_that_has_applied_nothing_yet_has_not_confirmed():
    """A sidecar that has just started has not confirmed."""
    assert not confirmation([make_heard(applied=None)], 0, None, 0, NOW).is_complete


@given(
    sidecars=st.lists(st.tuples(st.integers(0, 40_000), st.none() | st.integers(0, 9)), max_size=5),
    grace=st.none() | st.integers(0, 40_000),
    elapsed=st.integers(0, 80_000),
)
def test_nothing_is_outstanding_for_ever(sidecars, grace, elapsed):
    """A change is complete when lease and grace have passed, whichever sidecars confirmed it."""
    heard = [make_heard(silent, applied=applied) for silent, applied in sidecars]
    found = confirmation(heard, 5, grace, elapsed, NOW)

    assert found.is_complete or elapsed < LEASE + (GRACE if grace is None else grace)
    assert all(o.is_over is (o.may_allow_until <= NOW) for o in found.outstanding)
