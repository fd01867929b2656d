"""One HTTP/2 connection of a client that makes unary gRPC calls. No I/O, no clock.

Give it the bytes that arrive, act on the events that it returns, and send the bytes of its queue.

1. No input raises an exception. A stream error resets its stream. A connection error ends the
   connection with a GOAWAY that names it, and `fault` says which it was.
2. A call is reported with its message when its request is complete, and with None if it ends before
   its response. A response to a call that has ended is dropped, so the caller need not check.
3. The first frame is SETTINGS. Between HEADERS and the end of its block only CONTINUATION may come.
   The tables of frame_handlers.py name the frames of each phase; unknown types are ignored.
4. Frames that cost us work without making a call are paid from a budget, which calls refill. Over
   the budget a trusted client is to be paused, and any other is disconnected.
5. Memory for a client is bounded: the frames that a turn has left, one incomplete header block,
   incomplete messages (BodyMemory), calls (ConnectionLimits.streams), and one response to each.
6. A graceful end has two steps: a GOAWAY that names no stream, with a PING behind it; and, once the
   client has answered the PING and so knows, a GOAWAY that names the last stream.
"""

from collections.abc import Collection, Mapping
from math import inf

from authz.core.events import Event
from authz.core.ports import Probe
from authz.process.listener import ConnectionLimits
from authz.rpc.h2.flood_budgets import FloodBudgets
from authz.rpc.h2.frame_handlers import FrameHandlers
from authz.rpc.h2.frame_reader import FrameReader
from authz.rpc.h2.frames import (
    ConnectionFault,
    ErrorCode,
    SettingId,
    StreamFault,
    goaway_frame,
    settings_frame,
)
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.request_headers import MethodHandler
from authz.rpc.h2.request_streams import RequestStreams
from authz.rpc.h2.send_queue import SendQueue
from authz.rpc.h2.stream_states import CallEvent
from authz.rpc.h2.whole_calls import WholeCalls


class Connection:
    """The server's end of one connection. A new one has its SETTINGS in the queue.

    handlers: by `:path`. now: seconds of a monotonic clock, here and in every method. queue: the
    bytes to send. responses: takes those of the calls. budgets: the pause of a flooding client.
    tokens: of which a call needs one; empty: none.
    """

    def __init__(
        self,
        handlers: Mapping[bytes, MethodHandler],
        limits: ConnectionLimits,
        memory: BodyMemory,
        probe: Probe,
        now: float,
        *,
        tokens: Collection[bytes] = (),
    ) -> None:
        self.fault: ConnectionFault | None = None  # the connection error that ended it
        self.queue = SendQueue()
        self._idle_seconds = limits.idle_seconds
        self._goaway_seconds = limits.goaway_seconds
        self._probe = probe
        self.budgets = FloodBudgets(probe, now, limits.flood_tolerance, trusted=limits.trusted)
        self.streams = RequestStreams(
            handlers=handlers,
            limits=limits,
            memory=memory,
            queue=self.queue,
            budgets=self.budgets,
            probe=probe,
            tokens=tokens,
        )
        self.responses = self.streams.responses
        self._frames = FrameHandlers(
            self.streams, self.queue, self.budgets, probe, limits.header_bytes
        )
        whole = WholeCalls(
            *(self._frames, self.streams, self.budgets),
            max_calls=limits.streams,
            message_bytes=limits.message_bytes,
        )
        self._reader = FrameReader(self.budgets, whole.take)
        self._greeted = False
        self._due = now + limits.handshake_seconds
        self._greet(limits)

    @property
    def ended(self) -> bool:
        """True if the connection is to be closed once the queue is sent.

        So it is after a connection error, or after the last GOAWAY if no call is left.
        """
        streams = self.streams
        return self.fault is not None or (streams.last_id is not None and not streams.calls)

    @property
    def has_input(self) -> bool:
        """True if `receive` has not read all bytes. Call it with no data before it gets more."""
        return self._reader.more and self.fault is None

    @property
    def due(self) -> float:
        """The time at which `expire` is to be called.

        Seconds of the clock of `now`; inf for never.
        """
        return min(self._due, self.streams.due)

    def receive(self, data: bytes, now: float) -> list[CallEvent]:
        """Take bytes that arrived. Return the calls that started or were cancelled, in order.

        A call starts with its message, once its request is complete; a cancelled one has None. It
        handles a limited number of frames. While `has_input` is True, call it again with no
        data. A stream error queues RST_STREAM. A connection error queues GOAWAY, sets `fault` and
        cancels all calls. After that, `receive` ignores its data and returns an empty list.
        """
        if self.fault is not None:
            return []
        self.budgets.now = now
        apply = self._frames.apply
        try:
            for frame_type, flags, stream_id, payload in self._reader.read(data):
                try:
                    apply(frame_type, flags, stream_id, payload)
                except StreamFault as fault:
                    self.streams.reset(fault)
        except ConnectionFault as fault:
            self._end(fault)
        if not self._greeted and self._frames.greeted:
            self._greeted = True
            self._due = now + self._idle_seconds
        return self.streams.take_events()

    def expire(self, now: float) -> list[CallEvent]:
        """Apply the timeouts that are due at `now`. Return the cancelled calls, each with None.

        These are the deadlines of calls and the timeouts of the handshake, of an idle connection
        and of a graceful end. After a connection error nothing is done and the list is empty.
        """
        if self.fault is not None:
            return []
        self.budgets.now = now
        if now >= self._due:
            self._apply_timeout(now)
        self.streams.expire(now)
        return self.streams.take_events()

    def drain(self, now: float) -> None:
        """Begin a graceful end: queue a GOAWAY that names no stream, and a PING.

        New calls are taken until the client answers the PING, for at most `limits.goaway_seconds`.
        Does nothing after a connection error, or if called before.
        """
        if self.fault is None and not self._frames.draining:
            self._frames.drain()
            self._due = now + self._goaway_seconds

    def _greet(self, limits: ConnectionLimits) -> None:
        settings = {
            SettingId.HEADER_TABLE_SIZE: 0,
            SettingId.MAX_CONCURRENT_STREAMS: limits.streams,
            SettingId.INITIAL_WINDOW_SIZE: self.streams.bodies.stream_window,
            SettingId.MAX_HEADER_LIST_SIZE: limits.header_bytes,
        }
        self.queue.control(settings_frame(settings))
        self.streams.bodies.widen_connection_window()

    def _apply_timeout(self, now: float) -> None:
        if not self._greeted:
            self._probe.count(Event.H2_HANDSHAKE_FAILED)
            self._end(ConnectionFault(ErrorCode.SETTINGS_TIMEOUT, "no SETTINGS came"))
        elif self._frames.draining:
            self._frames.refuse_new()
            self._due = inf
        else:
            self._drain_if_idle(now)

    def _drain_if_idle(self, now: float) -> None:
        if self.streams.calls:
            self._due = now + self._idle_seconds
            return
        self._due = self.streams.opened_at + self._idle_seconds
        if now >= self._due:
            self._probe.count(Event.H2_IDLE_CLOSED)
            self.drain(now)

    def _end(self, fault: ConnectionFault) -> None:
        self._probe.count(Event.H2_CONNECTION_ERROR)
        self.fault = fault
        last_id = self.streams.last_id
        if last_id is None:
            last_id = self.streams.states.highest
        self.queue.control(goaway_frame(last_id, fault.code, fault.problem))
        self.streams.cancel_all()
