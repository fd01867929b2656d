"""Replication: a followed primary is trusted, an isolated one is detected in time."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.storage.replication import Replication, longest_alone

STEPS = 60  # heartbeats
leases = st.sampled_from((0.4, 1.0, 2.0, 10.0, 60.0))


class Primary:
    """A primary whose replica acknowledges at these times until it is isolated."""

    def __init__(self, acknowledgements, cut_off):
        self.moments = [moment for moment in acknowledgements if moment < cut_off]
        self.written = [(float("-inf"), 1000)]  # when, and the offset since

    def role(self, now, others):
        """Write like a heartbeat and `others` bytes more; return the reply to ROLE."""
        self.written.append((now, self.written[-1][1] + 40 + others))
        seen = max((moment for moment in self.moments if moment <= now), default=None)
        acknowledged = 0 if seen is None else max(o for at, o in self.written if at <= seen)
        return ["master", self.written[-1][1], [["127.0.0.1", "1", str(acknowledged)]]]


def is_followed(replication, now, role):
    """Give it a reply to ROLE; return whether the primary is followed then."""
    replication.observe(now, role)
    return replication.is_followed(now)


@given(
    leases,
    st.lists(st.floats(0.05, 1.2), min_size=80, max_size=80),
    st.floats(0, 200),
    st.lists(st.integers(0, 10_000), min_size=STEPS, max_size=STEPS),
)
def test_followed_until_it_is_cut_off(lease, pauses, cut_off, others):
    """A primary is followed until it is isolated, and at most `longest_alone` seconds longer."""
    moments = [sum(pauses[: i + 1]) for i in range(len(pauses))]
    primary, replication = Primary(moments, min(cut_off, moments[-1])), Replication(lease)
    cut_off = min(cut_off, moments[-1])
    replication.start(0.0)
    for step in range(STEPS):
        now = step * lease / 4
        followed = is_followed(replication, now, primary.role(now, others[step]))
        if now < cut_off:
            assert followed
        if now > cut_off + longest_alone(lease):
            assert not followed


def test_another_primary_has_to_show_it():
    """A later primary must show a replica itself; old offsets do not count."""
    replication = Replication(1.0)
    replication.start(0.0)
    assert is_followed(replication, 0.0, ["master", 900, [["a", "1", "0"]]])

    replication.start(10.0)
    assert not is_followed(replication, 10.0, ["master", 100, [["a", "1", "950"]]])
    assert not replication.is_overdue(10.0)
    assert is_followed(replication, 10.25, ["master", 200, [["a", "1", "100"]]])
    assert replication.is_overdue(12.01)


def test_a_link_that_was_made_anew_is_trusted_at_once():
    """A new link is trusted at once if its predecessor was followed just before."""
    replication = Replication(1.0)
    replication.start(0.0)
    replication.observe(0.0, ["master", 100, []])
    replication.observe(1.0, ["master", 200, [["a", "1", "100"]]])
    replication.start(1.5)

    assert is_followed(replication, 1.5, ["master", 300, [["a", "1", "100"]]])
    assert not is_followed(replication, 2.1, ["master", 400, []])


@pytest.mark.parametrize(
    "role",
    [["master"], ["master", "x", []], ["master", 1, None], ["master", 1, [["a"]]],
     ["master", 1, [["a", "1", "x"]]], ["master", None, []], ["master", 1, 7],
     ["master", inf, []]],
)  # fmt: skip
def test_what_is_no_answer_of_a_primary(role):
    """A reply that is not a primary's raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        Replication(1.0).observe(0.0, role)
