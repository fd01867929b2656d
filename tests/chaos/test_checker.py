"""The judge finds every kind of broken promise, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.checker import Bounds, check
from tests.chaos.history import Answer, Answers, Key, Outcome, State, read_answers

BOUNDS = Bounds(lease=1.0, settle=2.0)


DISABLED, ACTIVE = State.DISABLED, State.ACTIVE


def a_key(*changes, grace=0.0):
    """A key that was issued at 9..10, and then these changes."""
    key = Key("K" * 16, "text", grace)
    key.record(9.0, 10.0, State.ACTIVE)
    for change in changes:
        key.record(*change)
    return key


def judged(key, *answers, outages=(), bounds=BOUNDS):
    """What is found wrong: the kinds. Answers take 10 ms."""
    given = [Answer(0, sent, outcome, sent + 0.01) for sent, outcome in answers]
    return set(check([key], given, outages, bounds).counts)


REVOKED = a_key((20.0, 21.0, State.REVOKED))


@pytest.mark.parametrize(
    ("key", "sent", "outcome", "wrong"),
    [
        (REVOKED, 15.0, Outcome.ALLOW, set()),
        (REVOKED, 20.5, Outcome.ALLOW, set()),
        (REVOKED, 22.0, Outcome.ALLOW, set()),
        (REVOKED, 22.1, Outcome.ALLOW, {"stale allow"}),
        (REVOKED, 99.0, Outcome.STALE_ALLOW, {"stale allow"}),
        (REVOKED, 99.0, Outcome.REVOKED, set()),
        (REVOKED, 20.1, Outcome.REVOKED, set()),
        (REVOKED, 19.9, Outcome.REVOKED, {"false denial"}),
        (REVOKED, 15.0, Outcome.UNKNOWN, {"false denial"}),
        (REVOKED, 10.5, Outcome.UNKNOWN, set()),
        (REVOKED, 15.0, Outcome.DISABLED, {"false denial"}),
        (REVOKED, 15.0, Outcome.OTHER, {"fault"}),
        (REVOKED, 15.0, Outcome.UNAVAILABLE, {"unavailable"}),
        (a_key((20.0, 21.0, State.REVOKED), grace=3.0), 24.9, Outcome.STALE_ALLOW, set()),
        (a_key((20.0, 21.0, State.REVOKED), grace=3.0), 25.1, Outcome.ALLOW, {"stale allow"}),
        (a_key((20.0, None, State.REVOKED)), 99.0, Outcome.ALLOW, set()),
        (a_key((20.0, None, State.REVOKED)), 99.0, Outcome.REVOKED, set()),
        (a_key((20, 21, DISABLED), (30, 31, ACTIVE)), 29, Outcome.ALLOW, {"stale allow"}),
        (a_key((20, 21, DISABLED), (30, 31, ACTIVE)), 30.1, Outcome.ALLOW, set()),
        (a_key((20, 21, DISABLED), (30, 31, ACTIVE)), 31.9, Outcome.DISABLED, set()),
        (a_key((20, 21, DISABLED), (30, 31, ACTIVE)), 33, Outcome.DISABLED, {"false denial"}),
        (a_key((20, 21, State.REVOKED), (30, 31, State.ACTIVE)), 33, Outcome.REVOKED, set()),
        (a_key((20, 21, State.REVOKED), (30, 31, State.ABSENT)), 33, Outcome.UNKNOWN, set()),
        (a_key((20, 21, State.ABSENT, DISABLED)), 33, Outcome.UNKNOWN, set()),
        (a_key((20, 21, State.ABSENT, DISABLED)), 33, Outcome.DISABLED, set()),
        (a_key((20, 21, State.ABSENT, DISABLED)), 33, Outcome.ALLOW, {"stale allow"}),
    ],
)  # fmt: skip
def test_one_answer(key, sent, outcome, wrong):
    """An answer is judged by what the key may have been in the time that counts."""
    assert judged(key, (sent, outcome)) == wrong


@pytest.mark.parametrize(
    ("outage", "wrong"),
    [((30.0, 31.0), set()), ((30.0, 48.5), set()), ((30.0, 47.5), {"unavailable"}),
     ((50.5, 60.0), {"unavailable"}), ((50.005, 60.0), set())],
)  # fmt: skip
def test_unavailable(outage, wrong):
    """Unavailable is right in an outage and a moment after."""
    sent = 32.0 if outage == (30.0, 31.0) else 50.0
    assert judged(a_key(), (sent, Outcome.UNAVAILABLE), outages=[outage]) == wrong


def test_resurrected():
    """Revoked, and later let through by the same sidecar: wrong, whatever the store says."""
    restored = a_key((20, 21, State.REVOKED), (30, 31, State.ACTIVE))
    assert judged(restored, (40, Outcome.ALLOW)) == set()
    assert judged(restored, (25, Outcome.REVOKED), (40, Outcome.ALLOW)) == {"resurrected"}


def test_isolation_is_added():
    """What an isolated primary takes to close is added to the bound."""
    bounds = Bounds(lease=1.0, isolation=2.0)
    assert judged(REVOKED, (23.9, Outcome.ALLOW), bounds=bounds) == set()
    assert judged(REVOKED, (24.1, Outcome.ALLOW), bounds=bounds) == {"stale allow"}


def test_latest_allow():
    """It is told how late the last allow was, also when that is within the bound."""
    answers = [Answer(0, sent, Outcome.ALLOW, sent) for sent in (15.0, 21.25, 21.75)]
    assert check([REVOKED], answers, [], BOUNDS).latest_allow == {0.0: 0.75}


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e6),
            st.sampled_from(Outcome),
            st.floats(0, 1e6),
            st.integers(0, 2**32 - 1),
        )
    )
)
def test_answers_are_read_as_written(tmp_path_factory, written):
    """The file holds what was added, and a half answer at its end is left out."""
    path = tmp_path_factory.mktemp("answers") / "file"
    answers = Answers(path)
    for sent, outcome, answered, key in written:
        answers.add(key, sent, outcome, answered)
    answers.close()
    with path.open("ab") as file:
        file.write(b"half")
    found = [(a.sent, a.outcome, a.answered, a.key) for a in read_answers(path)]
    assert found == written
