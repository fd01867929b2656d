"""The report says what happened around answers that came without the store, after an outage."""

from types import SimpleNamespace

from tests.chaos.checker import Bounds, check
from tests.chaos.history import Answer, Key, Outcome, State
from tests.chaos.late import by_fault, explained


def test_a_late_answer_is_explained(tmp_path):
    """Each outage and partition has its answers, the steps of the fault and the sidecar's log."""
    key = Key("K" * 16, "text", 0.0, partition=5)
    key.record(9.0, 10.0, State.ACTIVE)
    token = key.token("other text")
    late = [Answer(0, 43.5, Outcome.UNAVAILABLE, 43.6), Answer(1, 44.0, Outcome.UNAVAILABLE, 44.1)]
    in_time = Answer(0, 41.0, Outcome.UNAVAILABLE, 41.1)
    verdict = check([key, token], [in_time, *late], [(30.0, 40.0)], Bounds(1.0, settle=3.0))
    log = tmp_path / "log"
    log.write_text("1.0 old\n39.500 no trust\nTraceback:\n44.2 trust\n99.0 new\n")
    sidecar = SimpleNamespace(name="leased-0", log=log)
    events = [(1.0, "another fault"), (31.0, "owner killed"), (99.0, "next fault")]

    first, *lines = explained(sidecar, verdict.late, events)

    assert first.startswith("leased-0, partition 5: 2 late answers, 1 of them to tokens, 3.500 to ")
    assert lines == [
        "  store -9.000 owner killed",
        "  sidecar -0.500 no trust",
        "  sidecar +4.200 trust",
    ]


def test_the_return_after_each_fault():
    """An outage belongs to the fault that began last before its end; one before all has none."""
    late = [(3.0, 0.1), (11.0, 0.2), (19.0, 0.3), (25.0, 0.4)]
    answers = [Answer(0, end + more, Outcome.UNAVAILABLE, end + more) for end, more in late]
    key = Key("K" * 16, "text", 0.0)
    outages = [(end - 1, end) for end, _ in late]
    verdict = check([key], answers, outages, Bounds(1.0, settle=3.0))
    found = list(by_fault(verdict.returns, [(10.0, "killed"), (20.0, "moved")]))

    assert [fault for fault, _ in found] == ["killed", "killed", "moved"]
    assert [round(seconds, 3) for _, seconds in found] == [0.2, 0.3, 0.4]
