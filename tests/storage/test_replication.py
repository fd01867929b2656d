"""Replication: a primary that is followed is seen to be, one that was cut off is not for long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.storage.replication import Replication, longest_alone

STEPS = 60  # heartbeats
leases = st.sampled_from((0.4, 1.0, 2.0, 10.0, 60.0))


class Primary:
    """One whose replica acknowledges at these moments, until it is cut off."""

    def __init__(self, acknowledgements, cut_off):
        self.moments = [moment for moment in acknowledgements if moment < cut_off]
        self.written = [(float("-inf"), 1000)]  # when, and the offset since

    def role(self, now, others):
        """A heartbeat writes, as others do, and asks."""
        self.written.append((now, self.written[-1][1] + 40 + others))
        seen = max((moment for moment in self.moments if moment <= now), default=None)
        acknowledged = 0 if seen is None else max(o for at, o in self.written if at <= seen)
        return ["master", self.written[-1][1], [["127.0.0.1", "1", str(acknowledged)]]]


@given(
    leases,
    st.lists(st.floats(0.05, 1.2), min_size=80, max_size=80),
    st.floats(0, 200),
    st.lists(st.integers(0, 10_000), min_size=STEPS, max_size=STEPS),
)
def test_followed_until_it_is_cut_off(lease, pauses, cut_off, others):
    """Never longer than `longest_alone` after that, and always before."""
    moments = [sum(pauses[: i + 1]) for i in range(len(pauses))]
    primary, replication = Primary(moments, min(cut_off, moments[-1])), Replication(lease)
    cut_off = min(cut_off, moments[-1])
    replication.link(0.0)
    for step in range(STEPS):
        now = step * lease / 4
        followed = replication.look(now, primary.role(now, others[step]))
        if now < cut_off:
            assert followed
        if now > cut_off + longest_alone(lease):
            assert not followed


def test_another_primary_has_to_show_it():
    """Where the last one was followed long ago; offsets of the one say nothing of the other."""
    replication = Replication(1.0)
    replication.link(0.0)
    assert replication.look(0.0, ["master", 900, [["a", "1", "0"]]])

    replication.link(10.0)
    assert not replication.look(10.0, ["master", 100, [["a", "1", "950"]]])
    assert not replication.had_its_time(10.0)
    assert replication.look(10.25, ["master", 200, [["a", "1", "100"]]])
    assert replication.had_its_time(12.01)


def test_a_link_that_was_made_anew_is_trusted_at_once():
    """When the primary was seen to be followed just before."""
    replication = Replication(1.0)
    replication.link(0.0)
    replication.look(0.0, ["master", 100, []])
    replication.look(1.0, ["master", 200, [["a", "1", "100"]]])
    replication.link(1.5)

    assert replication.look(1.5, ["master", 300, [["a", "1", "100"]]])
    assert not replication.look(2.1, ["master", 400, []])


@pytest.mark.parametrize(
    "role",
    [["master"], ["master", "x", []], ["master", 1, None], ["master", 1, [["a"]]],
     ["master", 1, [["a", "1", "x"]]], ["master", None, []], ["master", 1, 7]],
)  # fmt: skip
def test_what_is_no_answer_of_a_primary(role):
    """It is said, and nothing is made of it."""
    with pytest.raises(ValueError, match=r"."):
        Replication(1.0).look(0.0, role)
