"""One connection on a transport of asyncio: reads, asks, writes.

What is answered at once is answered inside `data_received`, all answers of one read in one write,
and no task is made. What has to wait becomes a task, which holds nobody up.

A large read is taken in turns, between which the loop serves the others. The loop itself would go
on reading from a client that sends as fast as it is answered, eight megabytes in a row.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Final, cast

from authz.core.events import Event
from authz.core.ports import Probe
from authz.process.listener import Limits
from authz.rpc.h2 import traceparent
from authz.rpc.h2.answers import FAILED, Status
from authz.rpc.h2.connection import Connection
from authz.rpc.h2.head import Route
from authz.rpc.h2.limits import Hold
from authz.rpc.h2.streams import ANSWERING, Call

log = logging.getLogger("authz.h2")

WRITE_BUFFER: Final = 256 * 1024  # bytes that a client may leave unread before we read no more
TURN: Final = 32 * 1024  # bytes of one connection that are taken before others have a turn
STALL_SECONDS: Final = 10.0  # and how long it may
LINGER_SECONDS: Final = 1.0  # for the client to read a GOAWAY before the socket is gone


class Complaints:
    """Log lines about clients, at most one a second."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._again = -inf
        self._left_out = 0

    def __call__(self, peer: object, problem: str) -> None:
        """A client does wrong. `problem` quotes nothing that it sent."""
        now = self._monotonic()
        if now < self._again:
            self._left_out += 1
            return
        also = f"; {self._left_out} lines like this were left out" if self._left_out else ""
        log.warning("closed the connection of %s: %s%s", peer or "a client", problem, also)
        self._again, self._left_out = now + 1, 0


@dataclass(slots=True)
class Service:
    """What the connections of one server share."""

    routes: Mapping[bytes, Route]
    limits: Limits
    hold: Hold
    probe: Probe
    most_connections: int
    complain: Complaints = field(default_factory=Complaints)
    open: "set[H2Protocol]" = field(default_factory=set)
    arriving: int = 0  # connections whose TLS handshake goes on
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # one has closed
    stopping: bool = False
    traced: bool = False  # does anybody want to know a call's place in a trace?

    def has_room(self) -> bool:
        """May one more connect? It is counted if not."""
        if len(self.open) + self.arriving < self.most_connections:
            return True
        self.probe.count(Event.H2_CONNECTION_REFUSED)
        return False


class H2Protocol(asyncio.Protocol):
    """A connection, from accept to close."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Future[bytes]] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self.stall: asyncio.TimerHandle | None = None  # set while the client does not read
        self._unread = memoryview(b"")  # of the last read; what comes next is not read before it
        self._turn: asyncio.Handle | None = None  # the next one, when it is due
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        service = self._service
        self.transport = cast("asyncio.Transport", transport)
        self._connection = Connection(
            service.routes, service.limits, service.hold, service.probe, self._loop.time()
        )
        if service.stopping or not self._is_welcome():
            self._closing = True
            self.transport.abort()
            return
        service.open.add(self)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._closing:
            return
        if len(data) > TURN:
            self.transport.pause_reading()
            self._unread = memoryview(data)
            self._next_turn()
        else:
            self._take(data)

    def pause_writing(self) -> None:
        """The client does not read: ask nothing more of it until it does."""
        self.transport.pause_reading()
        self.stall = self._loop.call_later(
            STALL_SECONDS, self._abandon, Event.H2_SLOW_READER, "it does not read its answers"
        )

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self.stall is not None:
            self.stall.cancel()
            self.stall = None
        if self._turn is None:
            self._next_turn()

    def connection_lost(self, _cause: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._closing = True
        for timer in (self._alarm, self.stall):
            if timer is not None:
                timer.cancel()
        self._connection.lost()
        for task in list(self._tasks.values()):
            task.cancel()
        self._service.open.discard(self)
        self._service.changed.set()

    def drain(self) -> None:
        """End as soon as what was asked is answered."""
        if not self._closing:
            self._connection.drain(self._loop.time())
            self._flush()

    def abort(self) -> None:
        """End now."""
        self._closing = True
        self.transport.abort()

    def _is_welcome(self) -> bool:
        tls = self.transport.get_extra_info("ssl_object")
        if tls is None:
            return self._service.has_room()
        if tls.selected_alpn_protocol() == "h2":
            return True
        self._service.probe.count(Event.H2_HANDSHAKE_FAILED)
        return False

    def _take(self, data: bytes) -> None:
        for call in self._connection.receive(data, self._loop.time()):
            if call.state is ANSWERING:
                self._ask(call)
            else:
                self._give_up(call)
        self._flush()

    def _next_turn(self) -> None:
        """Go on where reading stopped, unless the client has to read first."""
        self._turn = None
        if self._closing or self.stall is not None:
            return
        if self._unread:
            self._turn = self._loop.call_soon(self._next_turn)
            data, self._unread = bytes(self._unread[:TURN]), self._unread[TURN:]
            self._take(data)
        else:
            self.transport.resume_reading()

    def _ask(self, call: Call) -> None:
        route = cast("Route", call.head.route)
        try:
            if self._service.traced:
                made = route(call.message, traceparent.find(call.block))
            else:
                made = route(call.message)
        except Exception:  # noqa: BLE001  whatever it is, it is no allow
            self._failed(call)
            return
        if isinstance(made, bytes):
            self._connection.answer(call, made)
        elif isinstance(made, Status):
            self._connection.refuse(call, made)
        else:
            self._await(call, made)

    def _await(self, call: Call, made: Awaitable[bytes]) -> None:
        task = self._tasks[call.id] = asyncio.ensure_future(made)
        task.add_done_callback(partial(self._answer, call))

    def _answer(self, call: Call, task: "asyncio.Future[bytes]") -> None:
        self._tasks.pop(call.id, None)
        if task.cancelled() or task.exception() is not None:
            self._failed(call)
        else:
            self._connection.answer(call, task.result())
        if not self._closing:
            self._flush()

    def _failed(self, call: Call) -> None:
        if call.state is ANSWERING:
            self._service.probe.count(Event.DECISION_FAULT)
            self._connection.refuse(call, FAILED)

    def _give_up(self, call: Call) -> None:
        task = self._tasks.pop(call.id, None)
        if task is not None:
            task.cancel()

    def _flush(self) -> None:
        """Send what is to be sent, and see to what comes next."""
        connection = self._connection
        out = connection.take()
        if out:
            self.transport.write(out)
        if connection.ended:
            self._close()
        elif connection.due < self._alarm_at:
            self._set_alarm(connection.due)

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._alarm_at = inf
        for call in self._connection.expire(self._loop.time()):
            self._give_up(call)
        self._flush()

    def _close(self) -> None:
        """Close so that the client can still read what we said last.

        Closing with unread input makes the system reset the connection, and a reset may overtake
        the GOAWAY. So our side is closed first, and input is thrown away for a while.
        """
        fault = self._connection.fault
        if fault is not None:
            self._service.complain(self.transport.get_extra_info("peername"), str(fault))
        self._closing = True
        self.transport.resume_reading()
        if self._alarm is not None:
            self._alarm.cancel()
        patience = STALL_SECONDS if fault is None else LINGER_SECONDS
        self._alarm = self._loop.call_later(patience, self.transport.abort)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _abandon(self, event: Event, problem: str) -> None:
        self._service.probe.count(event)
        self._service.complain(self.transport.get_extra_info("peername"), problem)
        self.abort()
