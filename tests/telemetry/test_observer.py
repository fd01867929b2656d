"""Observer: sampled durations, and denial lines."""

import logging
import sys
from time import perf_counter

import pytest

from authz.core.decision import Deny, Reason
from authz.core.histogram import Histogram
from authz.core.ports import ResponseIds
from authz.core.request import Route
from authz.rpc.check.handler import CheckHandler
from authz.rpc.h2.traceparent import NOT_SAMPLED
from authz.telemetry.counters import Counters
from authz.telemetry.denials import Denials
from authz.telemetry.observer import EVERY, Observer, attributes
from authz.telemetry.traces import Traces
from tests.support.fakes import FakeClock, make_request
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request


class Watched(Door):
    """A handler with an Observer."""

    def __init__(self) -> None:
        self.counters = Counters()
        super().__init__()

    def compose(self) -> None:
        """Put an Observer into the handler."""
        self.denials = Denials(1000, self.clock.monotonic)
        self.observer = Observer(self.counters, self.denials)
        self.real = CheckHandler(
            self.extractor, self.checker, self.responder, self.probe, self.observer
        )
        self.check = self.real.check


async def test_one_in_so_many_is_timed_and_counts_for_all_of_them() -> None:
    """The histogram has about as many values as there were cache hits."""
    door = Watched()
    _, key = door.issue()
    message = check_request([("x-api-key", key)])
    await door.answer(message)
    for _ in range(10 * EVERY):
        await door.answer(message)

    steps = door.counters.hit_seconds
    assert sum(steps.counts) == 10 * EVERY
    assert len([count for count in steps.counts if count % EVERY]) == 0
    assert steps.sum > 0


async def test_each_that_waits_for_the_store_is_timed() -> None:
    """All Checks that wait for the store are timed."""
    door = Watched()
    for _ in range(20):
        _, key = door.issue()
        await door.answer(check_request([("x-api-key", key)]))

    assert sum(door.counters.miss_seconds.counts) == 20
    assert sum(door.counters.hit_seconds.counts) == 0


def traced_line(caplog: pytest.LogCaptureFixture, called: bytes | None, header: str) -> str:
    """Return the trace in a denial line, given the traceparents of call and request."""
    caplog.set_level(logging.INFO)
    observer = Observer(Counters(), Denials(1, FakeClock().monotonic))
    observer.trace(Never())
    request = make_request(headers={"traceparent": header})
    observer.observe(Deny(Reason.FORGED), request, called, perf_counter(), ids=IDS)
    return caplog.records[-1].trace_id


IDS = ResponseIds("id-1", "c" * 28)


class Never(Traces):
    """Traces that fail if a span is asked for."""

    def __init__(self) -> None:
        pass

    def sample(self, traceparent: str) -> bool:
        """Implement Traces.sample."""
        raise AssertionError(traceparent)


def test_the_line_of_a_refusal_names_the_trace_also_where_nobody_samples(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a decoded traceparent of the call, that of the request is used."""
    ours, other = f"00-{'a' * 32}-{'b' * 16}-00", f"00-{'c' * 32}-{'d' * 16}-00"
    assert traced_line(caplog, NOT_SAMPLED, other) == "c" * 32
    assert traced_line(caplog, NOT_SAMPLED, "") == ""
    assert traced_line(caplog, ours.encode(), other) == "a" * 32
    assert traced_line(caplog, None, other) == "c" * 32


def test_without_a_reader_nothing_is_timed() -> None:
    """With metrics off, only refusals are observed."""
    observer = Observer(Counters(), Denials(1, FakeClock().monotonic), timed=False)
    assert observer.stride == sys.maxsize


def test_a_value_on_a_bound_is_within_it() -> None:
    """A bound is inclusive, as in Prometheus."""
    steps = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        steps.add(value)
    steps.add(3.0, 10)
    assert steps.counts == [2, 2, 11]
    assert steps.sum == 37.5


def test_the_span_of_a_reported_refusal_says_allowed_and_the_reason() -> None:
    """The outcome is what happened, the reason what would have."""
    request = make_request(route=Route(enforce=False))
    said = attributes(Deny(Reason.EXPIRED), request, waited=False)
    assert (said["authz.outcome"], said["authz.reason"]) == ("allowed", "expired")
    said = attributes(Deny(Reason.EXPIRED), make_request(), waited=False)
    assert (said["authz.outcome"], said["authz.reason"]) == ("denied", "expired")
