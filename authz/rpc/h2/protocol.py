"""One connection on an asyncio transport: reads, calls the handlers, writes.

A call that is answered at once is answered inside `data_received`. All responses to one read go out
in one write, and no task is created. A call that has to wait becomes a task, so it delays no other.

A large read, or one of many small frames, is processed in turns, between which the loop serves
other connections. Without turns the loop would read up to eight megabytes of one client in a row.

Reading pauses while a client does not read its responses, and while it is slowed for a flood.
"""

import asyncio
import logging
from collections.abc import Awaitable
from functools import partial
from math import inf
from typing import Final, cast

from authz.core.events import Event
from authz.rpc.h2 import traceparent
from authz.rpc.h2.connection import Connection
from authz.rpc.h2.flood_budgets import MIN_PAUSE
from authz.rpc.h2.request_headers import MethodHandler
from authz.rpc.h2.responses import FAILED, GrpcStatus, status_response
from authz.rpc.h2.server_state import ServerState
from authz.rpc.h2.stream_states import ANSWERING, Call

log = logging.getLogger("authz.h2")

WRITE_BUFFER: Final = 256 * 1024  # bytes that a client may leave unread before we stop reading
TURN: Final = 32 * 1024  # bytes of one connection that are processed before others have a turn


class H2Protocol(asyncio.Protocol):
    """A connection, from accept to close."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._traced = state.traced
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Future[bytes | GrpcStatus]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self.stall: asyncio.TimerHandle | None = None  # set while the client does not read
        self.slowed: asyncio.TimerHandle | None = None  # set while a flooding client is paused
        self._unread = memoryview(b"")  # of the last read; processed before the next read
        self._turn: asyncio.Handle | None = None  # the next turn, once it is scheduled
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send SETTINGS, or abort the connection.

        It is aborted if the server is stopping, if TLS did not agree on `h2`, or without TLS if
        `admit` refuses it.
        """
        state = self._state
        self.transport = cast("asyncio.Transport", transport)
        self._connection = Connection(
            *(state.handlers, state.limits, state.memory, state.probe, self._loop.time()),
            tokens=state.tokens,
        )
        self._respond = self._connection.responses.respond
        if state.stopping or not self._is_welcome():
            self._closing = True
            self.transport.abort()
            return
        state.open[self] = None
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Process the bytes and send the responses.

        Input is ignored once the connection is closing. If the bytes exceed TURN (32 KiB), reading
        pauses while they are processed in turns.
        """
        if self._closing:
            return
        if len(data) > TURN:
            self.transport.pause_reading()
            self._unread = memoryview(data)
            self._next_turn()
        else:
            self._process(data)

    def pause_writing(self) -> None:
        """Stop reading: the client has left more than WRITE_BUFFER (256 KiB) of responses unread.

        If it does not read within `limits.stall_seconds` (10 s), abort, count H2_SLOW_READER and
        log a warning.
        """
        self.transport.pause_reading()
        self.stall = self._loop.call_later(
            self._state.limits.stall_seconds,
            self._abandon,
            Event.H2_SLOW_READER,
            "it does not read its answers",
        )

    def resume_writing(self) -> None:
        """Cancel the stall timer and read on: the client reads its responses again.

        Input that is not yet processed comes first. A pause for a flood goes on.
        """
        if self.stall is not None:
            self.stall.cancel()
            self.stall = None
        if self._turn is None:
            self._next_turn()

    def connection_lost(self, _cause: Exception | None) -> None:
        """Cancel the timers and all running calls. Remove the connection from the server's state.

        Sets the state's `changed`.
        """
        self._closing = True
        for timer in (self._timer, self.stall, self.slowed):
            if timer is not None:
                timer.cancel()
        self._connection.streams.cancel_all()
        for task in list(self._tasks.values()):
            task.cancel()
        self._state.open.pop(self, None)
        self._state.changed.set()

    def drain(self) -> None:
        """Begin a graceful end, and close once every call is answered. No-op if already closing."""
        if not self._closing:
            self._connection.drain(self._loop.time())
            self._flush()

    def abort(self) -> None:
        """Close at once. Calls that are not answered get no response."""
        self._closing = True
        self.transport.abort()

    @property
    def is_idle(self) -> bool:
        """True if the connection has no call."""
        return not self._connection.streams.calls

    def _is_welcome(self) -> bool:
        tls = self.transport.get_extra_info("ssl_object")
        if tls is None:
            return self._state.admit()
        if tls.selected_alpn_protocol() == "h2":
            return True
        self._state.probe.count(Event.H2_HANDSHAKE_FAILED)
        return False

    def _process(self, data: bytes) -> None:
        for call, message in self._connection.receive(data, self._loop.time()):
            if message is None:
                self._cancel(call)
            else:
                self._start(call, message)
        self._flush()
        if self._connection.budgets.pause >= MIN_PAUSE and not self._closing:
            self._slow_down()
        elif self._connection.has_input and self._turn is None and not self._closing:
            self.transport.pause_reading()
            self._turn = self._loop.call_soon(self._next_turn)

    def _slow_down(self) -> None:
        """Stop reading for the pause of a flooding client, at most MAX_PAUSE (0.1 s)."""
        self.transport.pause_reading()
        pause = self._connection.budgets.take_pause()
        self.slowed = self._loop.call_later(pause, self._end_pause)

    def _end_pause(self) -> None:
        self.slowed = None
        if self._turn is None:
            self._next_turn()

    def _next_turn(self) -> None:
        """Process the rest of a turn, or up to TURN bytes of the last read; else resume reading.

        Does nothing while the connection is closing, stalled or slowed.
        """
        self._turn = None
        if self._closing or self.stall is not None or self.slowed is not None:
            return
        if self._connection.has_input:
            self._turn = self._loop.call_soon(self._next_turn)
            self._process(b"")
        elif self._unread:
            self._turn = self._loop.call_soon(self._next_turn)
            data, self._unread = bytes(self._unread[:TURN]), self._unread[TURN:]
            self._process(data)
        else:
            self.transport.resume_reading()

    def _start(self, call: Call, message: bytes) -> None:
        # A request that is refused is not reported, so there is a handler.
        handler: MethodHandler = call.headers.handler  # type: ignore[assignment]
        try:
            if self._traced:
                response = handler(message, traceparent.find(call.header_block))
            else:
                response = handler(message)
        except Exception:  # noqa: BLE001  no exception may become an allow
            self._fail(call)
            return
        if isinstance(response, bytes):
            self._respond(call, response)
        elif isinstance(response, GrpcStatus):
            self._connection.responses.refuse(call, status_response(response))
        else:
            self._await(call, response)

    def _await(self, call: Call, response: Awaitable[bytes | GrpcStatus]) -> None:
        task = self._tasks[call.id] = asyncio.ensure_future(response)
        task.add_done_callback(partial(self._finish, call))

    def _finish(self, call: Call, task: "asyncio.Future[bytes | GrpcStatus]") -> None:
        self._tasks.pop(call.id, None)
        if task.cancelled() or task.exception() is not None:
            self._fail(call)
        elif isinstance(response := task.result(), GrpcStatus):
            self._connection.responses.refuse(call, status_response(response))
        else:
            self._connection.responses.respond(call, response)
        if not self._closing:
            self._flush()

    def _fail(self, call: Call) -> None:
        if call.state is ANSWERING:
            self._state.probe.count(Event.DECISION_FAULT)
            self._connection.responses.refuse(call, status_response(FAILED))

    def _cancel(self, call: Call) -> None:
        task = self._tasks.pop(call.id, None)
        if task is not None:
            task.cancel()

    def _flush(self) -> None:
        """Send the queue. Then close the connection if it has ended, else set its timer."""
        connection = self._connection
        out = connection.queue.take()
        if out:
            self.transport.write(out)
        if connection.ended:
            self._close()
        elif connection.due < self._timer_at:
            self._set_timer(connection.due)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._expire)

    def _expire(self) -> None:
        self._timer_at = inf
        for call, _ in self._connection.expire(self._loop.time()):
            self._cancel(call)
        self._flush()

    def _close(self) -> None:
        """Log a connection error, and close so that the client can still read our last frames.

        Closing with unread input makes the system reset the connection, and a reset may overtake
        the GOAWAY. So we shut down our side first and discard input for `limits.linger_seconds`
        (1 s), or for `limits.stall_seconds` (10 s) without an error. Then the connection is
        aborted.
        """
        fault = self._connection.fault
        if fault is not None:
            self._warn(str(fault))
        self._closing = True
        self.transport.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        limits = self._state.limits
        seconds = limits.stall_seconds if fault is None else limits.linger_seconds
        self._timer = self._loop.call_later(seconds, self.transport.abort)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _abandon(self, event: Event, problem: str) -> None:
        self._state.probe.count(event)
        self._warn(problem)
        self.abort()

    def _warn(self, problem: str) -> None:
        peer = self.transport.get_extra_info("peername") or "a client"
        log.warning("closed the connection of %s: %s", peer, problem)
