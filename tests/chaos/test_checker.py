"""The checker finds every kind of broken promise and nothing else."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.checker import STALE, Bounds, Verdict, check
from tests.chaos.history import Answer, Answers, Change, Key, Outcome, State, read_answers
from tests.chaos.rules import Rules
from tests.chaos.run import TRIALS, Report

BOUNDS = Bounds(lease=1.0, settle=2.0)


DISABLED, ACTIVE, NARROWED, ROTATED = State.DISABLED, State.ACTIVE, State.NARROWED, State.ROTATED


def a_key(*changes, grace=0.0):
    """Return a key that was issued at 9..10 and then changed like this."""
    key = Key("K" * 16, "text", grace)
    key.record(9.0, 10.0, State.ACTIVE)
    for change in changes:
        key.record(*change)
    return key


def judged(key, *answers, outages=(), bounds=BOUNDS):
    """Return the kinds of violations. Answers take 10 ms."""
    given = [Answer(0, sent, outcome, sent + 0.01) for sent, outcome in answers]
    return set(check([key], given, outages, bounds).counts)


REVOKED = a_key((20.0, 21.0, State.REVOKED))
WRONG = {"false denial"}


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
        (REVOKED, 20.5, Outcome.UNAVAILABLE, {"unavailable"}),
        (a_key((20, 21, DISABLED)), 20.5, Outcome.UNAVAILABLE, {"unavailable"}),
        (a_key((20, 21, NARROWED)), 20.5, Outcome.UNAVAILABLE, {"unavailable"}),
        (a_key((20, 21, ROTATED)), 19.9, Outcome.UNAVAILABLE, {"unavailable"}),
        (a_key((20, 21, ROTATED)), 20.0, Outcome.UNAVAILABLE, set()),
        (a_key((20, 21, ROTATED)), 22.0, Outcome.UNAVAILABLE, set()),
        (a_key((20, 21, ROTATED)), 22.1, Outcome.UNAVAILABLE, {"unavailable"}),
        (a_key((20.0, 21.0, State.REVOKED), grace=3.0), 24.9, Outcome.STALE_ALLOW, set()),
        (a_key((20.0, 21.0, State.REVOKED), grace=3.0), 25.1, Outcome.STALE_ALLOW, {"stale allow"}),
        (a_key((20.0, 21.0, State.REVOKED), grace=3.0), 22.1, Outcome.ALLOW, {"stale allow"}),
        (a_key((20, 21, DISABLED), (30, 31, ACTIVE), grace=3), 33, Outcome.STALE_DISABLED, set()),
        (a_key((20, 21, DISABLED), (30, 31, ACTIVE), grace=3), 34, Outcome.DISABLED, WRONG),
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
        (a_key((20, 21, NARROWED)), 22.1, Outcome.ALLOW, {"stale allow"}),
        (a_key((20, 21, NARROWED)), 99, Outcome.NO_SCOPE, set()),
        (a_key((20, 21, NARROWED), (30, 31, DISABLED)), 33, Outcome.NO_SCOPE, WRONG),
        (a_key((20, 21, ROTATED)), 22.1, Outcome.ALLOW, {"stale allow"}),
        (a_key((20, 21, ROTATED)), 99, Outcome.ROTATED, set()),
        (a_key((20, 21, ROTATED)), 15, Outcome.ROTATED, WRONG),
        (a_key((20, 21, ROTATED)), 99, Outcome.NO_SCOPE, WRONG),
    ],
)  # fmt: skip
def test_one_answer(key, sent, outcome, wrong):
    """An answer is judged by the states that the key may have had in the relevant period."""
    outages = [(0.0, 100.0)] if outcome in STALE else []

    assert judged(key, (sent, outcome), outages=outages) == wrong


@pytest.mark.parametrize(
    ("outage", "wrong"),
    [((30.0, 31.0), set()), ((30.0, 48.5), set()), ((30.0, 47.5), {"unavailable"}),
     ((50.5, 60.0), {"unavailable"}), ((50.005, 60.0), set())],
)  # fmt: skip
def test_without_the_store(outage, wrong):
    """Unavailable and stale answers are right during an outage and shortly after."""
    sent = 32.0 if outage == (30.0, 31.0) else 50.0
    stale = {"stale"} if wrong else set()
    assert judged(a_key(), (sent, Outcome.UNAVAILABLE), outages=[outage]) == wrong
    assert judged(a_key(), (sent, Outcome.STALE_ALLOW), outages=[outage]) == stale
    assert judged(a_key(), (sent, Outcome.ALLOW), outages=[outage]) == set()


def test_a_token_follows_its_key():
    """A token has the changes of its key, also later ones, and a run says whether it was tried."""
    key = a_key()
    token = key.token("other text")
    key.record(20, 21, State.REVOKED)
    found = check([key, token], [Answer(1, 23, Outcome.ALLOW, 23)], [], BOUNDS)

    assert (found.counts, found.tried["dead token"]) == ({"stale allow": 1}, 1)
    assert "a token of" in found.violations[0]
    found = check([key, token], [Answer(0, 23, Outcome.REVOKED, 23)], [], BOUNDS)
    assert (found.tried["dead"], found.tried["dead token"]) == (1, 0)


def test_a_missing_scope_is_explained_by_the_rules_or_by_the_key():
    """On a path that the rules open, only a key that may be narrowed lacks the scope."""
    reloads = [Change(0.0, 0.0, frozenset({Rules.FIRST}))]
    for key, sent, wrong in (
        (a_key(), 15, {"wrong rules"}),
        (a_key((20, 21, NARROWED)), 20.5, set()),
        (a_key((20, 21, NARROWED), (30, 31, ACTIVE)), 31.9, set()),
        (a_key((20, 21, NARROWED), (30, 31, ACTIVE)), 32.1, {"wrong rules"}),
    ):
        answer = Answer(0, sent, Outcome.NO_SCOPE, sent, path=0)
        assert set(check([key], [answer], [], BOUNDS, reloads).counts) == wrong


def test_resurrected():
    """An allow after the same sidecar called the key revoked is a violation."""
    restored = a_key((20, 21, State.REVOKED), (30, 31, State.ACTIVE))
    assert judged(restored, (40, Outcome.ALLOW)) == set()
    assert judged(restored, (25, Outcome.REVOKED), (40, Outcome.ALLOW)) == {"resurrected"}


def test_acknowledged():
    """After every sidecar acknowledged the end of a key, any allow is a violation."""
    key = a_key((20, 21, State.REVOKED))
    key.acknowledged = 21.2
    assert judged(key, (21.1, Outcome.ALLOW)) == set()
    assert judged(key, (21.3, Outcome.ALLOW)) == {"acknowledged"}


def test_over():
    """After the time that `--wait` reported, an allow is a violation unless the store went back."""
    key = a_key((20, 21, State.REVOKED))
    key.over = 21.5
    assert judged(key, (21.4, Outcome.ALLOW)) == set()
    assert judged(key, (21.6, Outcome.ALLOW)) == {"over"}
    key.record(25, 26, State.ACTIVE)
    assert judged(key, (27, Outcome.ALLOW)) == set()


def test_what_a_history_puts_to_the_test():
    """Only answers that could have broken a promise count as tries."""
    key = a_key((20, 21, State.REVOKED))
    key.acknowledged = 23.0
    found = check(
        [key],
        [
            Answer(0, 15.0, Outcome.ALLOW, 15.0),
            Answer(0, 21.5, Outcome.REVOKED, 21.5),
            Answer(0, 22.5, Outcome.REVOKED, 22.5),
            Answer(0, 23.5, Outcome.UNAVAILABLE, 23.5),
            Answer(0, 30.0, Outcome.REVOKED, 30.0),
        ],
        [(0.0, 10.0), (23.0, 24.0)],
        BOUNDS,
    )

    assert found.counts == {}
    assert +found.tried == {"dead": 2, "within reach": 4, "seen revoked": 3, "acknowledged": 2}


def test_a_run_that_tried_nothing_has_not_passed():
    """A run whose sidecars answer nobody, or are never asked, has not passed."""
    idle = Verdict()
    busy = Verdict(Counter({Outcome.ALLOW: 1}), tried=Counter(TRIALS))
    caught = Verdict(counts=Counter({"stale allow": 1}))
    report = Report({"leased": [busy], "pub-sub": [caught]})
    assert report.passed

    report.verdicts["leased"].append(idle)

    assert not report.violations
    assert report.untried == [*TRIALS, "a good key"]
    assert not report.passed


def asked(path, sent, outcome, reloads):
    """Return the kinds of violations of an answer to a request for a path, with these rules."""
    given = [Answer(0, sent, outcome, sent + 0.01, path)]
    return set(check([a_key()], given, [], BOUNDS, reloads).counts)


FIRST = Change(float("-inf"), float("-inf"), frozenset({Rules.FIRST}))
SECOND = Change(30.0, 31.0, frozenset({Rules.SECOND}))
NO_SCOPE = Outcome.NO_SCOPE


@pytest.mark.parametrize(
    ("path", "sent", "outcome", "is_right"),
    [
        (0, 29.0, Outcome.ALLOW, True),
        (1, 29.0, Outcome.ALLOW, False),
        (0, 29.0, NO_SCOPE, False),
        (1, 29.0, NO_SCOPE, True),
        (0, 30.5, Outcome.ALLOW, True),
        (0, 30.5, NO_SCOPE, True),
        (0, 31.5, Outcome.ALLOW, False),
        (1, 31.5, Outcome.ALLOW, True),
        (0, 31.5, NO_SCOPE, True),
    ],
)
def test_an_answer_follows_from_rules_that_may_be_in_force(path, sent, outcome, is_right):
    """Between the change of the file and the report of its reload both rules are right."""
    wrong = set() if is_right else {"wrong rules"}
    assert asked(path, sent, outcome, [FIRST, SECOND]) == wrong
    assert asked(path, sent, outcome, []) == set()


def test_a_full_store_may_refuse_additions_alone():
    """A revocation that a full store refuses is a violation of the run, and an issue is none."""
    report = Report({"leased": []})
    report.refused.update({State.ACTIVE: 3})
    assert report.violations == []
    report.refused.update({State.REVOKED: 2})
    assert report.violations == ["a full store refused 2 changes to revoked"]


def test_latest_return():
    """The report says how long after an outage the last answer without the store came."""
    answers = [
        Answer(0, 30.5, Outcome.UNAVAILABLE, 30.5),
        Answer(0, 31.25, Outcome.STALE_ALLOW, 31.25),
        Answer(0, 31.5, Outcome.ALLOW, 31.5),
    ]
    assert check([a_key()], answers, [(30.0, 31.0)], BOUNDS).latest_return == 0.25


def test_isolation_is_added():
    """The time that an isolated primary needs to stop is added to the bound."""
    bounds = Bounds(lease=1.0, isolation=2.0)
    assert judged(REVOKED, (23.9, Outcome.ALLOW), bounds=bounds) == set()
    assert judged(REVOKED, (24.1, Outcome.ALLOW), bounds=bounds) == {"stale allow"}


def test_latest_allow():
    """The report says how late the last allow was, also within the bound."""
    answers = [Answer(0, sent, Outcome.ALLOW, sent) for sent in (15.0, 21.25, 21.75)]
    assert check([REVOKED], answers, [], BOUNDS).latest_allow == {0.0: 0.75}


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e6),
            st.sampled_from(Outcome),
            st.floats(0, 1e6),
            st.integers(0, 2**32 - 1),
            st.integers(0, 1),
        )
    )
)
def test_answers_are_read_as_written(tmp_path_factory, written):
    """Answers are read as written, and a partial one at the end is dropped."""
    file = tmp_path_factory.mktemp("answers") / "file"
    answers = Answers(file)
    for sent, outcome, answered, key, path in written:
        answers.add(key, sent, outcome, answered, path=path)
    answers.close()
    with file.open("ab") as half:
        half.write(b"half")
    found = [(a.sent, a.outcome, a.answered, a.key, a.path) for a in read_answers(file)]
    assert found == written
