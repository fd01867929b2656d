"""Around a call, without a socket: its errors, its deadline, its log line and its count."""

import asyncio
import logging
from dataclasses import replace

import pytest

from authz.core.access import Binding, Caller, Credentials, Kind, Refusal, RefusalKind
from authz.core.errors import (
    Conflict,
    NotFound,
    OutcomeUnknown,
    Unavailable,
    UnknownPlan,
    Unreadable,
)
from authz.core.roles import Role
from authz.rpc.admin import calls as calls_module
from authz.rpc.admin.api_error import ApiError, Code
from authz.rpc.admin.calls import Arrival, Calls
from authz.rpc.admin.hiding import hide_time
from authz.rpc.admin.method_table import Method, methods
from authz.rpc.pb.admin.v1 import admin_pb2, keys_pb2
from authz.telemetry.admin_metrics import CallCounters
from authz.telemetry.admin_observer import AdminObserver
from tests.support.fakes import FakeClock


class One:
    """An Authenticator that knows one answer."""

    def __init__(self, answer: Caller | Refusal) -> None:
        self.answer = answer

    async def authenticate(self, _credentials: Credentials) -> Caller | Refusal:
        """Implement Authenticator.authenticate."""
        return self.answer


class Broken:
    """A service of which every method raises."""

    def __init__(self, cause: BaseException) -> None:
        self._cause = cause

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        async def fail(*_arguments):
            raise self._cause

        return fail


ADMIN = Caller("7Hk2mQ9xT4bVzR1c", Kind.KEY, (), "7Hk2mQ9xT4bVzR1c")
TEXT = "ak_live_7Hk2mQ9xT4bVzR1c_1" + "s" * 60


def around(
    cause: BaseException, answer: Caller | Refusal = ADMIN
) -> tuple[Calls, Method, CallCounters]:
    """Return calls to services that raise `cause`, the method WhoAmI, and the counters."""
    table, counters = methods([Broken(cause)]), CallCounters()
    observer = AdminObserver(counters)
    calls = Calls(table, One(answer), FakeClock(), observer, rate=100, is_ready=lambda: True)
    return calls, table["/authz.admin.v1.Admin/WhoAmI"], counters


async def failed(calls: Calls, method: Method) -> ApiError:
    """Return the error of a call."""
    credentials = Credentials((f"Bearer {TEXT}",), (), "192.0.2.7", f"curl/8\n{TEXT}")
    with pytest.raises(ApiError) as caught:
        await calls.unary(method, method.request(), Arrival(credentials, "call-1"))
    return caught.value


@pytest.mark.parametrize(
    ("cause", "code", "reason"),
    [
        (Unavailable("10.0.0.5:6379 hangs"), Code.UNAVAILABLE, "STORE_UNAVAILABLE"),
        (OutcomeUnknown("10.0.0.5:6379 hangs"), Code.UNAVAILABLE, "OUTCOME_UNKNOWN"),
        (Unreadable("10.0.0.5:6379 hangs"), Code.DATA_LOSS, "RECORD_UNREADABLE"),
        (UnknownPlan("plan gold"), Code.FAILED_PRECONDITION, "PLAN_UNKNOWN"),
        (Conflict("at version 3"), Code.ABORTED, "VERSION_CONFLICT"),
        (ValueError("10.0.0.5:6379 hangs"), Code.INTERNAL, "INTERNAL"),
        (TimeoutError(), Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    ],
)
async def test_faults(cause, code, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each fault has its code and reason. The caller sees nothing of the inside."""
    calls, method, counters = around(cause)
    error = await failed(calls, method)
    assert (error.code, error.reason) == (code, reason)
    assert "10.0.0.5" not in error.message
    counted = [where for where, count in counters.calls() if count == 1]
    assert counted == [{"method": "Admin.WhoAmI", "code": code.name}]
    if isinstance(cause, ValueError):
        assert "10.0.0.5" in caplog.text  # the operator does see it


async def test_a_stream_that_breaks(caplog: pytest.LogCaptureFixture) -> None:
    """A bug after the first response is an error with the call id, a traceback, and a count."""

    async def broken(*_arguments):
        yield keys_pb2.ExportKeysResponse()
        raise ValueError("10.0.0.5:6379 hangs")

    async def requests():
        yield keys_pb2.ExportKeysRequest()

    calls, _, counters = around(ValueError())
    exported = calls.methods["/authz.admin.v1.Keys/ExportKeys"]
    method = replace(exported, needed=None, function=broken)
    arrival = Arrival(Credentials((), (), "192.0.2.7", ""), "call-1")
    responses = calls.streaming(method, requests(), arrival)
    assert await anext(responses) == keys_pb2.ExportKeysResponse()
    with pytest.raises(ApiError, match=r"under call call-1$") as caught:
        await anext(responses)
    assert caught.value.code is Code.INTERNAL
    assert "10.0.0.5" not in caught.value.message
    assert "ValueError: 10.0.0.5" in caplog.text
    counted = [where for where, count in counters.calls() if count == 1]
    assert counted == [{"method": "Keys.ExportKeys", "code": "INTERNAL"}]


class Busy:
    """A service of which every method lets other tasks run before it answers."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        async def answer(*_arguments):
            for _ in range(3):
                await asyncio.sleep(0)
            return admin_pb2.WhoAmIResponse()

        return answer


async def test_a_deadline_that_has_passed() -> None:
    """A call whose deadline has passed on arrival ends at once. Without a deadline it goes on."""
    table, counters = methods([Busy()]), CallCounters()
    observer = AdminObserver(counters)
    calls = Calls(table, One(ADMIN), FakeClock(), observer, rate=100, is_ready=lambda: True)
    method = table["/authz.admin.v1.Admin/WhoAmI"]
    credentials = Credentials((), (), "192.0.2.7", "")
    with pytest.raises(ApiError) as caught:
        await calls.unary(method, method.request(), Arrival(credentials, "call-1", seconds=0.0))
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    await calls.unary(method, method.request(), Arrival(credentials, "call-2"))


async def test_the_log_of_a_call(caplog: pytest.LogCaptureFixture) -> None:
    """One line has method, code, caller, source and call id, on one line and without the secret."""
    caplog.set_level(logging.INFO)
    calls, method, _ = around(Conflict("x"))
    await failed(calls, method)
    (record,) = [each for each in caplog.records if each.name == "authz.admin.calls"]
    line = record.getMessage()
    assert line.startswith("Admin.WhoAmI ABORTED by key:7Hk2mQ9xT4bVzR1c from 192.0.2.7 curl/8\\n")
    assert record.request_id == "call-1"
    assert "\n" not in line


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (RefusalKind.UNAUTHENTICATED, Code.UNAUTHENTICATED),
        (RefusalKind.UNAVAILABLE, Code.UNAVAILABLE),
    ],
)
async def test_refused_credentials(kind, code, caplog: pytest.LogCaptureFixture) -> None:
    """The caller learns that the credential is not good; the log says why."""
    caplog.set_level(logging.INFO)
    calls, method, _ = around(ValueError(), Refusal(kind, "key: unknown"))
    error = await failed(calls, method)
    assert error.code is code
    assert "unknown" not in error.message
    assert "by nobody" in caplog.text
    assert "key: unknown" in caplog.text


@pytest.mark.parametrize(
    ("took", "waits"), [(0.0, 0.0), (0.001, 0.019), (0.0199, 0.0001), (0.021, 0.019)]
)
async def test_a_missing_key_is_answered_at_a_fixed_time(
    monkeypatch: pytest.MonkeyPatch, took: float, waits: float
) -> None:
    """A bound caller waits for a whole number of 20 ms; a caller who sees every key does not."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    clock, bound = FakeClock(), Binding(Role.VIEWER, frozenset({"north"}))
    began = clock.monotonic()
    clock.advance(took)
    await hide_time(replace(ADMIN, bindings=(bound,)), began, clock)
    await hide_time(replace(ADMIN, bindings=(bound, Binding(Role.VIEWER))), began, clock)
    assert slept == [pytest.approx(waits, abs=1e-6)]


async def test_a_missing_key_is_hidden_by_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NotFound of any method waits; another fault does not."""
    seen: list[float] = []

    async def hide(_caller: Caller, began: float, _clock: object) -> None:
        seen.append(began)

    monkeypatch.setattr(calls_module, "hide_time", hide)
    for cause in (NotFound("no key"), Conflict("other")):
        calls, method, _ = around(cause)
        with pytest.raises(ApiError):
            await calls.unary(method, admin_pb2.WhoAmIRequest(), Arrival(Credentials(), "x"))
    assert len(seen) == 1
