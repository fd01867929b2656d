"""Form, rate and content of log lines."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Deny, Reason
from authz.core.ports import ResponseIds
from authz.core.request import Route
from authz.telemetry import logs
from authz.telemetry.denials import Denials
from authz.telemetry.logs import JsonLines, LogThrottle, Text
from authz.telemetry.tracecontext import Context
from tests.support.fakes import FakeClock, make_keyring, make_record, make_request

log = logging.getLogger("authz.tests")
IDS = ResponseIds("id-1", "c" * 28)


class Terminal(io.StringIO):
    """A stderr that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: is_terminal


@pytest.fixture(params=[False, True], ids=["json", "text"])
def stderr(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A stderr that gets log lines as in the sidecar."""
    monkeypatch.setattr(logs, "log_throttle", LogThrottle(5))
    root = logging.getLogger()
    before = root.handlers[:], root.level
    found = Terminal(is_terminal=request.param)
    monkeypatch.setattr(sys, "stderr", found)
    logs.log_to_stderr("INFO")
    yield found
    root.handlers[:], root.level = before


def fail(problem: str) -> None:
    """Raise an exception."""
    raise ValueError(problem)


def test_a_line_of_one_of_several_processes_has_its_number(
    stderr: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one has the number 0. The line of a single process has no such field."""
    monkeypatch.setattr(sys, "stderr", stderr)
    logs.log_to_stderr("INFO", process=0)
    log.info("ready", extra={"reason": "all is well"})
    line = stderr.getvalue()
    if stderr.isatty():
        assert line.endswith("authz.tests: ready process=0 reason=all is well\n")
    else:
        found = json.loads(line)
        assert found["process"] == "0"
        assert [*found] == ["time", "level", "logger", "message", "process", "reason"]


def test_a_line_says_what_it_is_about(stderr: Terminal) -> None:
    """A line has the given fields and no others."""
    log.info("denied: %s", "expired", extra={"reason": "expired", "kid": "k" * 16, "trace_id": ""})

    line = stderr.getvalue()
    if stderr.isatty():
        assert line.endswith(
            f"INFO    authz.tests: denied: expired reason=expired kid={'k' * 16}\n"
        )
    else:
        said = json.loads(line)
        assert said.pop("time").endswith("+00:00")
        assert said == {
            "level": "info",
            "logger": "authz.tests",
            "message": "denied: expired",
            "reason": "expired",
            "kid": "k" * 16,
        }


def test_a_failure_has_its_traceback(stderr: Terminal) -> None:
    """A traceback is part of the one JSON line."""
    try:
        fail("no")
    except ValueError:
        log.exception("it failed")
    assert "ValueError: no" in stderr.getvalue()
    assert stderr.isatty() or len(stderr.getvalue().splitlines()) == 1


def test_a_key_that_a_library_quotes_is_taken_out(stderr: Terminal) -> None:
    """A whole or cut key is removed from message, arguments and exception. The kid stays."""
    minted = make_keyring("acme").mint("live")
    secret = minted.text.rpartition("_")[2]
    try:
        fail(f"cannot parse {minted.text[:-9]}")
    except ValueError:
        log.exception("GET /?api_key=%s failed", minted.text)
    assert minted.kid in stderr.getvalue()
    assert secret[:8] not in stderr.getvalue()


def test_one_place_cannot_flood_the_log(stderr: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines above the rate are dropped, and other places still write."""
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    for number in range(1000):
        log.info("noise %d", number)
    log.info("a word of sense")
    lines = stderr.getvalue().splitlines()
    assert len(lines) == 6
    assert "a word of sense" in lines[-1]
    assert logs.log_throttle.left_out == 995


def test_the_next_line_says_how_many_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next line has the count of dropped lines, and the one after it has none."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    throttle = LogThrottle(5)
    record = logging.LogRecord("authz", logging.INFO, "a.py", 1, "noise", None, None)
    assert [throttle.filter(record) for _ in range(8)] == [True] * 5 + [False] * 3
    now += 0.5
    said = [
        json.loads(JsonLines().format(record)).get("left_out")
        for _ in range(2)
        if throttle.filter(record)
    ]
    assert said[0] == 3
    assert Text().format(record).endswith("noise left_out=3")


def test_refusals_have_a_line_each_up_to_the_rate(caplog: pytest.LogCaptureFixture) -> None:
    """Refusals above the rate are in one summary line, by reason."""
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    denials = Denials(2, clock.monotonic)
    forged, expired = Deny(Reason.FORGED), Deny(Reason.EXPIRED, make_record())
    for decision in [forged] * 100 + [expired] * 50:
        if denials.take_line(decision):
            trace = Context("a" * 32, "b" * 16)
            denials.write(decision, make_request(), IDS, "k" * 16, trace)
    assert denials.left_out == 98 + 49
    denials.summarise()
    denials.summarise()
    clock.advance(1)
    undecided = Deny(Reason.UNAVAILABLE)
    assert denials.take_line(undecided)
    denials.write(undecided, make_request(), IDS, "k" * 16, None)

    assert caplog.messages == [
        "denied: forged",
        "denied: forged",
        "denied: expired",
        "refused, without a line of their own: forged 98, expired 49",
        "undecided: unavailable",
    ]
    first, _, other, summary, last = caplog.records
    assert (first.reason, first.kid, first.client_id) == ("forged", "k" * 16, "")
    assert (first.trace_id, first.span_id) == ("a" * 32, "b" * 16)
    assert (other.reason, other.client_id) == ("expired", "acme-web")
    assert summary.left_out == 147
    assert (last.client_id, last.trace_id) == ("", "")


@given(
    rate=st.integers(1, 5),
    floods=st.lists(
        st.tuples(st.floats(0, 3), st.sampled_from(Reason), st.integers(1, 40)), max_size=60
    ),
)
def test_no_mix_of_refusals_makes_more_lines(
    rate: int, floods: list[tuple[float, Reason, int]]
) -> None:
    """No mix of reasons exceeds the rate, one second's worth and one line for each reason."""
    clock, told, came = FakeClock(), 0, 0
    denials = Denials(rate, clock.monotonic)
    for number, (pause, reason, times) in enumerate(floods):
        clock.advance(pause)
        if number % 4 == 0:
            denials.summarise()
        told += sum(denials.take_line(Deny(reason)) for _ in range(times))
        came += times
    length = sum(pause for pause, _, _ in floods)

    assert told <= rate * length + rate + len(Reason) + 1e-6
    assert told + denials.left_out == came


def test_the_first_of_a_reason_is_seen_in_a_flood_of_another() -> None:
    """The first refusal of a reason has a line in a flood of another, after each summary."""
    clock = FakeClock()
    denials = Denials(1, clock.monotonic)
    for _ in range(3):
        assert [denials.take_line(Deny(Reason.FORGED)) for _ in range(50)].count(True) <= 1
        assert denials.take_line(Deny(Reason.REVOKED))
        assert not denials.take_line(Deny(Reason.REVOKED))
        clock.advance(10)
        denials.summarise()


def test_refusals_have_the_rate_that_was_set(stderr: Terminal) -> None:
    """The rate of denial lines may exceed that of other places."""
    denials = Denials(100, FakeClock().monotonic)
    for _ in range(200):
        if denials.take_line(Deny(Reason.FORGED)):
            denials.write(Deny(Reason.FORGED), make_request(), IDS, "", None)
    assert len(stderr.getvalue().splitlines()) == 100


def test_a_receiver_that_is_away_takes_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK, which writes two lines a second for a missing receiver, gets one a minute."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    throttle, seen = LogThrottle(), []
    name = "opentelemetry.exporter.otlp.json.http.trace_exporter"
    for _ in range(600):
        record = logging.LogRecord(name, logging.WARNING, "a.py", 1, "failed", None, None)
        if throttle.filter(record):
            seen.append(getattr(record, "left_out", 0))
        now += 0.5
    assert seen[0] == 0
    assert len(seen) == 5  # in five minutes
    assert all(left_out in {119, 120} for left_out in seen[1:])


@pytest.mark.parametrize("enforce", [True, False])
def test_a_line_says_which_request_was_refused(
    caplog: pytest.LogCaptureFixture, enforce: bool
) -> None:
    """By the id that the caller was told, method, path and address; `would deny` if reported."""
    caplog.set_level(logging.INFO)
    request = make_request(
        path="/v1/models?api_key=secret", method="POST", route=Route(enforce=enforce)
    )
    Denials(1, FakeClock().monotonic).write(Deny(Reason.EXPIRED), request, IDS, "k" * 16, None)

    (record,) = caplog.records
    assert record.message == ("denied: expired" if enforce else "would deny: expired")
    assert record.report_only is not enforce
    assert (record.request_id, record.charge_id) == ("id-1", "c" * 28)
    assert (record.method, record.path, record.address) == ("POST", "/v1/models", "203.0.113.7")
    line = json.loads(JsonLines().format(record))
    assert line["path"] == "/v1/models"
    assert ("report_only" in line) is not enforce
