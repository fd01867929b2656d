"""Traces follow the caller's trace."""

import random
import time

import pytest

from authz.telemetry import tracecontext
from tests.support.real import Valkey, eventually
from tests.support.rpc.messages import check_request
from tests.support.telemetry.receiver import Receiver, attributes, black_hole, receiving
from tests.support.telemetry.sidecar import ReportingSidecar, telling

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def fresh(flags: str = "01") -> str:
    """A traceparent that no other test has used."""
    return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-{flags}"


async def spans_of(receiver: Receiver, traceparent: str) -> list:
    """Return the spans of a trace as soon as there are any."""
    trace_id = traceparent[3:35]
    return await eventually(lambda: [s for s in receiver.spans() if s["traceId"] == trace_id])


async def test_the_call_s_own_trace_goes_on(sidecar: ReportingSidecar, receiver: Receiver) -> None:
    """The span belongs to the trace of the call, not of the request, and has the decision."""
    ours, client_s = fresh(), fresh()
    sidecar.allow(("traceparent", client_s), traceparent=ours)

    (span,) = await spans_of(receiver, ours)
    assert span["name"] == "authz.check"
    assert span["parentSpanId"] == ours[36:52]
    assert int(span["endTimeUnixNano"]) > int(span["startTimeUnixNano"])
    assert abs(int(span["endTimeUnixNano"]) - time.time_ns()) < 60e9
    said = attributes(span)
    assert said["authz.outcome"] == "allowed"
    assert said["authz.reason"] == "none"
    assert said["authz.cache"] in {"hit", "miss"}
    assert said["authz.key.id"] == sidecar.kid
    assert said["authz.client.id"] == "acme"
    assert not [s for s in receiver.spans() if s["traceId"] == client_s[3:35]]


async def test_else_the_request_s_trace_goes_on(
    sidecar: ReportingSidecar, receiver: Receiver
) -> None:
    """Without a trace of the call, the span belongs to that of the request, in either header
    form.
    """
    for raw_headers in (False, True):
        client_s = fresh()
        headers = [("x-api-key", sidecar.key), ("traceparent", client_s)]
        sidecar.ask(check_request(headers, raw_headers=raw_headers))
        (span,) = await spans_of(receiver, client_s)
        assert span["parentSpanId"] == client_s[36:52]


async def test_a_refusal_says_why(sidecar: ReportingSidecar, receiver: Receiver) -> None:
    """The span has the reason and the kid, and the denial line names the span."""
    ours = fresh()
    sidecar.ask(check_request([("x-api-key", sidecar.key[:-1] + "!")]), ours)
    (span,) = await spans_of(receiver, ours)
    assert attributes(span)["authz.reason"] == "malformed"
    assert "authz.key.id" not in attributes(span)

    other = fresh()
    forged = f"ak_live_{sidecar.kid}_1{'x' * 60}"
    sidecar.ask(check_request([("x-api-key", forged)]), other)
    (span,) = await spans_of(receiver, other)
    assert attributes(span)["authz.outcome"] == "denied"
    assert attributes(span)["authz.key.id"] == sidecar.kid
    lines = [line for line in sidecar.lines("authz.denied") if line["trace_id"] == other[3:35]]
    assert [line["span_id"] for line in lines] == [span["spanId"]]


@pytest.mark.parametrize("flags", ["00", "02"])
async def test_what_the_caller_does_not_sample_is_not_traced(
    sidecar: ReportingSidecar, receiver: Receiver, flags: str
) -> None:
    """An unsampled call has no span. Its denial line names the trace and the caller's span."""
    unsampled, later = fresh(flags), fresh()
    sidecar.ask(check_request(), unsampled)
    sidecar.allow(traceparent=later)
    await spans_of(receiver, later)
    assert not [s for s in receiver.spans() if s["traceId"] == unsampled[3:35]]
    lines = [
        line for line in sidecar.lines("authz.denied") if line.get("trace_id") == unsampled[3:35]
    ]
    assert [line["span_id"] for line in lines] == [unsampled[36:52]]


async def test_who_says_nothing_of_a_trace_is_drawn(own_valkey: Valkey, tmp_path) -> None:
    """With a ratio of 1 every Check without a valid traceparent begins a trace."""
    with receiving() as receiver:
        telemetry = {
            "otlp": {"endpoint": receiver.endpoint},
            "tracing": {"enabled": True, "sample_ratio": 1},
        }
        with telling(tmp_path, own_valkey, {"telemetry": telemetry}) as sidecar:
            sidecar.allow()
            sidecar.allow(("traceparent", f"00-{TRACE}-{SPAN}-01-more"))
            spans = await eventually(lambda: len(receiver.spans()) == 2 and receiver.spans())
    assert all(not span.get("parentSpanId") and int(span["traceId"], 16) for span in spans)
    assert len({span["traceId"] for span in spans}) == 2


async def test_a_client_cannot_ask_for_more_spans_than_there_may_be(
    own_valkey: Valkey, tmp_path
) -> None:
    """Above the rate a Check has no span and the same decision."""
    with receiving() as receiver:
        telemetry = {
            "otlp": {"endpoint": receiver.endpoint},
            "tracing": {"enabled": True, "max_per_second": 5},
        }
        with telling(tmp_path, own_valkey, {"telemetry": telemetry}) as sidecar:
            began = time.monotonic()
            for _ in range(200):
                sidecar.allow(("traceparent", fresh()))
            took = time.monotonic() - began
            process = sidecar.process
            process.tell(15)
            assert process.wait() == 0
    assert 5 <= len(receiver.spans()) <= 5 * (took + 1)


async def test_a_receiver_that_hangs_holds_up_nothing(own_valkey: Valkey, tmp_path) -> None:
    """With a hanging receiver, Checks are answered and the process ends within seconds."""
    with black_hole() as endpoint:
        telemetry = {
            "otlp": {"endpoint": endpoint, "interval": "1s"},
            "tracing": {"enabled": True, "sample_ratio": 1, "max_per_second": 1000},
        }
        with telling(tmp_path, own_valkey, {"telemetry": telemetry}) as sidecar:
            for _ in range(300):
                sidecar.allow()
            sidecar.process.tell(15)
            assert sidecar.process.wait() == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"cc-{TRACE}-{SPAN}-01-more\n",
        f"c-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
    ],
)
def test_a_traceparent_that_makes_no_sense_is_none(text: str) -> None:
    """An invalid traceparent begins a new trace."""
    assert tracecontext.parse(text) is None


def test_a_traceparent_names_a_trace_and_a_span() -> None:
    """The flags do not change the ids."""
    for flags in ("00", "01", "ff"):
        sampled = flags != "00"
        assert tracecontext.parse(f"00-{TRACE}-{SPAN}-{flags}") == (TRACE, SPAN, sampled)


@pytest.mark.parametrize("rest", ["", "-", "-what-the-future-will-be-like"])
def test_a_traceparent_of_a_later_version_begins_as_those_of_today(rest: str) -> None:
    """A traceparent of a later version is read as version 00 (W3C Trace Context)."""
    assert tracecontext.parse(f"cc-{TRACE}-{SPAN}-01{rest}") == (TRACE, SPAN, True)
