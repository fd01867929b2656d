"""Calls: what happens around every call of the admin API, over any transport.

In this order: the store is known to be ours, the caller is known, its rate and its rights are
enough, the message has nothing unknown. Then the method runs, and every failure becomes an
ApiError. At the end the call is counted and logged.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from google.protobuf.message import Message

from authz.core.access import Caller, Credentials, Refusal, RefusalKind, visible
from authz.core.admin_ports import Authenticator
from authz.core.bounded import BoundedDict
from authz.core.errors import Fault, NotFound
from authz.core.ports import Clock
from authz.core.token_bucket import TokenBucket
from authz.rpc.admin.api_error import ApiError, Code, forbidden, of_fault, unavailable
from authz.rpc.admin.call_context import CallContext, source_of
from authz.rpc.admin.hiding import hide_time
from authz.rpc.admin.method_table import Method
from authz.rpc.admin.strict_messages import refuse_unknown

log = logging.getLogger("authz.admin")
calls_log = logging.getLogger("authz.admin.calls")  # bounded by the rates of callers

MAX_CALLERS: Final = 10_000  # whose rates are remembered
MAX_CALL_SECONDS: Final = 120.0  # of a unary call

_ID: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_MAX_ID: Final = 64


class CallObserver(Protocol):
    """Counts and traces calls. MUST NOT wait."""

    def observe(
        self, method: str, code: str, seconds: float, *, traceparent: str, request_id: str
    ) -> None:
        """Count one call that has ended. method: `Keys.GetKey`. code: of gRPC, such as `OK`.

        traceparent: as it came, empty without one. request_id: the call id.
        """
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call that has arrived. call_id: see `call_id_of`. seconds: until its deadline, or None.

    traceparent: as it came, empty without one. caller: of a call of our own process, which has
    identified its author; None: the credentials say who it is.
    """

    credentials: Credentials = field(repr=False)
    call_id: str
    seconds: float | None = None
    traceparent: str = ""
    caller: Caller | None = None


class Calls:
    """Serves the methods of the admin API.

    rate: calls a second that one caller may make; a second's calls may come at once. is_ready:
    whether the store is reachable and ours.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        authenticator: Authenticator,
        clock: Clock,
        observer: CallObserver,
        *,
        rate: float,
        is_ready: Callable[[], bool],
    ) -> None:
        self.methods = methods
        self._authenticator = authenticator
        self._clock = clock
        self._observer = observer
        self._rate = rate
        self._is_ready = is_ready
        self._buckets: BoundedDict[str, TokenBucket] = BoundedDict(MAX_CALLERS)

    async def unary(self, method: Method, request: Message, arrival: Arrival) -> Message:
        """Return the response of a unary method. Raises ApiError for every failure.

        It ends with DEADLINE_EXCEEDED after `arrival.seconds`, at most MAX_CALL_SECONDS (120 s).
        """
        with self._ended(method, arrival) as call:
            context = await self._admit(method, arrival, call)
            refuse_unknown(request)
            given = MAX_CALL_SECONDS if arrival.seconds is None else arrival.seconds
            seconds = min(given, MAX_CALL_SECONDS)
            async with asyncio.timeout(seconds):
                try:
                    response: Message = await method.function(request, context)
                except NotFound:
                    await hide_time(context.caller, context.began, self._clock)
                    raise
            return response

    async def streaming(
        self, method: Method, requests: AsyncIterator[Message], arrival: Arrival
    ) -> AsyncGenerator[Message, None]:
        """Yield the responses of a streaming method. Raises ApiError, also after some responses.

        requests: all requests of the client; one, if the client does not stream. Without a deadline
        of the client it has no end.
        """
        with self._ended(method, arrival) as call:
            context = await self._admit(method, arrival, call)
            if method.descriptor.client_streaming:
                responses = method.function(_known(requests), context)
            else:
                request = await anext(aiter(requests))
                refuse_unknown(request)
                responses = method.function(request, context)
            async with asyncio.timeout(arrival.seconds):
                async for response in responses:
                    yield response

    async def _admit(self, method: Method, arrival: Arrival, call: "_Call") -> CallContext:
        """Return the context of a call that may go on, and note its actor or refusal in `call`.

        Takes one call from the rate of the caller. Raises ApiError: UNAVAILABLE, UNAUTHENTICATED,
        RESOURCE_EXHAUSTED over the rate, PERMISSION_DENIED if no role allows the method.
        """
        began = self._clock.monotonic()
        if not self._is_ready():
            raise unavailable()
        caller = arrival.caller or await self._authenticator.authenticate(arrival.credentials)
        if isinstance(caller, Refusal):
            call.refusal = caller.why
            raise _refused(caller)
        call.actor = caller.actor
        self._take_rate(caller)
        if method.needed is not None and visible(caller, method.needed).is_empty:
            raise forbidden("your roles do not allow this method")
        deadline = None
        if arrival.seconds is not None:
            deadline = self._clock.monotonic() + arrival.seconds
        source = source_of(arrival.credentials)
        return CallContext(caller, source, call.call_id, deadline, began)

    def _take_rate(self, caller: Caller) -> None:
        bucket = self._buckets.get(caller.actor)
        if bucket is None:
            bucket = TokenBucket(self._rate)
            self._buckets.put(caller.actor, bucket)
        if not bucket.take(self._clock.monotonic()):
            message = f"more than {self._rate:g} calls a second; call less often"
            raise ApiError(Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", message, retry=1 / self._rate)

    @contextmanager
    def _ended(self, method: Method, arrival: Arrival) -> Iterator["_Call"]:
        """Turn every failure but a cancellation into an ApiError, then count and log the call."""
        began, call = self._clock.monotonic(), _Call(arrival.call_id)
        code = Code.OK
        try:
            yield call
        except ApiError as error:
            code = error.code
            raise
        except Fault as fault:
            told = of_fault(fault)
            code = told.code
            if code in {Code.UNAVAILABLE, Code.DATA_LOSS}:
                log.warning("%s: %s", method.name, fault)
            raise told from None
        except TimeoutError:
            code = Code.DEADLINE_EXCEEDED
            raise ApiError(code, "DEADLINE_EXCEEDED", "the call took too long") from None
        except (asyncio.CancelledError, GeneratorExit):
            code = Code.CANCELLED
            raise
        except Exception:
            code = Code.INTERNAL
            log.exception("%s failed", method.name, extra={"request_id": arrival.call_id})
            message = f"a fault of the server; its log has more under call {call.call_id}"
            raise ApiError(code, "INTERNAL", message) from None
        finally:
            seconds = self._clock.monotonic() - began
            self._observer.observe(
                method.name,
                code.name,
                seconds,
                traceparent=arrival.traceparent,
                request_id=arrival.call_id,
            )
            _log_call(method, arrival, call, code, seconds)


@dataclass(slots=True)
class _Call:
    """The facts of one call for its log line."""

    call_id: str
    actor: str = ""
    refusal: str = ""


def _log_call(method: Method, arrival: Arrival, call: _Call, code: Code, seconds: float) -> None:
    about = {"request_id": arrival.call_id}
    source, ms = source_of(arrival.credentials), seconds * 1000
    if call.actor and code is not Code.RESOURCE_EXHAUSTED:
        actor = call.actor
        calls_log.info(
            "%s %s by %s from %s in %.1f ms", method.name, code.name, actor, source, ms, extra=about
        )
    else:
        actor, refusal = call.actor or "nobody", call.refusal
        log.info(
            "%s %s by %s from %s in %.1f ms: %s",
            *(method.name, code.name, actor, source, ms, refusal),
            extra=about,
        )


def _refused(refusal: Refusal) -> ApiError:
    if refusal.kind is RefusalKind.UNAVAILABLE:
        message = "whether the credential is good cannot be told now; try again"
        return ApiError(Code.UNAVAILABLE, "AUTHENTICATION_UNAVAILABLE", message, retry=1)
    message = "a valid credential is necessary: a token, a client certificate, or a key"
    return ApiError(Code.UNAUTHENTICATED, "UNAUTHENTICATED", message)


def call_id_of(given: str) -> str:
    """Return the id that a client sent in `x-request-id`, or a new one of 16 hexadecimal digits.

    A new one if the given one is not 1 to 64 of A-Z a-z 0-9 . _ -.
    """
    if 0 < len(given) <= _MAX_ID and _ID.issuperset(given):
        return given
    return secrets.token_hex(8)


async def _known(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    async for request in requests:
        refuse_unknown(request)
        yield request
