"""Durations of lookups."""

from authz.core.decision import Reason
from authz.core.errors import Elsewhere, Unavailable, Unreadable
from authz.telemetry.counters import Counters, TimedKeys
from tests.support.fakes import KID, FakeClock, MemoryKeySource, make_record


def test_a_lookup_is_timed_until_its_answer_and_told_by_its_result() -> None:
    """A lookup is timed, and its answer is passed on. A moved key is absent there."""
    clock, source, counters = FakeClock(), MemoryKeySource(), Counters()
    keys = TimedKeys(source, clock, counters)
    answers = [make_record(), None, Unavailable("away"), Unreadable("garbled")]
    answers.append(Elsewhere(3))
    delivered = []
    for answer in answers:
        keys.load(KID, delivered.append)
        clock.advance(0.004)
        source.answer(KID, answer)

    assert delivered == answers
    steps = counters.lookup_seconds
    counted = {result: sum(steps[result].counts) for result in steps}
    assert counted == {"found": 1, "absent": 2, "failed": 2}
    assert abs(steps["failed"].sum - 0.008) < 1e-6


def test_a_refusal_that_is_not_enforced_is_counted_apart() -> None:
    """Such a refusal counts as allowed, so alerts on denials stay quiet during a rollout."""
    counters = Counters()
    counters.decided(Reason.EXPIRED)
    counters.decided(None)
    counters.reported(Reason.EXPIRED)

    assert counters.allowed == 2
    assert counters.denied[Reason.EXPIRED] == 1
    assert counters.would_deny[Reason.EXPIRED] == 1
    assert sum(counters.would_deny.values()) == 1
