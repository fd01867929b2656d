"""TokenBucket against its definition."""

from hypothesis import given
from hypothesis import strategies as st

from authz.core.token_bucket import TokenBucket


@given(
    rate=st.integers(1, 50),
    steps=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 80)), max_size=30),
)
def test_never_more_than_rate_and_a_second_s_worth(rate, steps):
    """Between any two moments: at most what flowed in, and a second's worth that was kept."""
    bucket, now, taken = TokenBucket(rate), 1000.0, []
    for milliseconds, tries in steps:
        now += milliseconds / 1000
        taken += [now] * sum(bucket.take(now) for _ in range(tries))
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= rate + (taken[last] - begin) * rate + 1e-6


def test_it_gives_what_it_promises():
    """A bucket gives the tokens of one second at once, then one as each flows in."""
    bucket = TokenBucket(4)

    assert [bucket.take(10.0) for _ in range(5)] == [True] * 4 + [False]
    assert [bucket.take(10.25), bucket.take(10.25)] == [True, False]
    assert [bucket.take(100.0) for _ in range(5)] == [True] * 4 + [False]


def test_a_slow_rate_gives_whole_tokens():
    """A rate below one a second still gives whole tokens."""
    bucket = TokenBucket(0.5)
    assert [bucket.take(now) for now in (0.0, 1.0, 2.0, 3.0)] == [True, False, True, False]


def test_what_is_borrowed_is_paid_back_first():
    """Two borrowed, which is all that may be: the third second gives the next one."""
    bucket = TokenBucket(1)
    assert bucket.take(0.0)
    assert [bucket.borrow(2) for _ in range(3)] == [True, True, False]
    assert [bucket.take(now) for now in (1.0, 2.0, 3.0, 3.5)] == [False, False, True, False]


def test_time_that_goes_back_gives_nothing():
    """A clock that goes back neither gives tokens nor takes any."""
    bucket = TokenBucket(1)
    assert [bucket.take(now) for now in (5.0, 4.0, 4.5)] == [True, False, False]
