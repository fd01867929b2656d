"""One HTTP/2 connection of a client that makes unary gRPC calls. No I/O, no clock.

Feed it what arrives, answer the calls it gives, send what `take` gives.

1. Whatever arrives, nothing is raised. A stream error resets that stream; a connection error ends
   the connection with a GOAWAY that names it, and `fault` says what it was.
2. A call is given when its request is complete, and again when it is over before its answer: its
   state tells which. An answer to a call that is over is dropped, so that nobody has to look.
3. The first frame is SETTINGS. Between HEADERS and the end of its block nothing but CONTINUATION
   comes. Which frames are taken is the table of the phase; unknown kinds are ignored.
4. What costs us something and asks for nothing is paid out of a budget, which calls fill again.
5. What is held for a client is bounded: one frame and one header block that are not complete, its
   unfinished messages (Hold), its calls (Limits.streams), and one answer to each.
6. An end that nobody forced is in two steps: a GOAWAY that names no stream, and once the client
   has answered a PING that followed it, so that it knows, a GOAWAY that names the last one.
"""

from collections.abc import Mapping
from math import inf
from typing import Final

from authz.core.events import Event
from authz.core.ports import Probe
from authz.process.listener import Limits
from authz.rpc.h2.answers import Status, status_answer
from authz.rpc.h2.conversation import Conversation
from authz.rpc.h2.frames import (
    Code,
    ConnectionFault,
    Setting,
    StreamFault,
    goaway_frame,
    settings_frame,
)
from authz.rpc.h2.head import Route
from authz.rpc.h2.limits import FloodBudgets, Hold
from authz.rpc.h2.outbox import Outbox
from authz.rpc.h2.reader import FrameReader
from authz.rpc.h2.requests import Requests
from authz.rpc.h2.streams import Call

HANDSHAKE_SECONDS: Final = 10.0  # until the client's first SETTINGS
DRAIN_SECONDS: Final = 1.0  # for the PING of a drain to be answered


class Connection:
    """The server's end."""

    def __init__(
        self, routes: Mapping[bytes, Route], limits: Limits, hold: Hold, probe: Probe, now: float
    ) -> None:
        self.fault: ConnectionFault | None = None  # what ended it
        self._idle_seconds = limits.idle_seconds
        self._count = probe.count
        self._reader = FrameReader()
        self._outbox = Outbox()
        self._patience = FloodBudgets(probe, now, limits.flood_tolerance)
        self._requests = Requests(
            routes=routes,
            limits=limits,
            hold=hold,
            outbox=self._outbox,
            patience=self._patience,
            probe=probe,
        )
        self._conversation = Conversation(
            self._requests, self._outbox, self._patience, limits.header_bytes
        )
        self._greeted = False
        self._due = now + HANDSHAKE_SECONDS
        self._greet(limits)

    @property
    def ended(self) -> bool:
        """Is there nothing more to do but to send what `take` gives?"""
        requests = self._requests
        return self.fault is not None or (
            requests.last_id is not None and not requests.streams.calls
        )

    @property
    def due(self) -> float:
        """When `expire` wants to be called."""
        return min(self._due, self._requests.due)

    def receive(self, data: bytes, now: float) -> list[Call]:
        """Take what arrived. The calls whose requests are complete, or that are over."""
        if self.fault is not None:
            return []
        self._patience.now = now
        take = self._conversation.take
        try:
            for kind, flags, stream_id, payload in self._reader.read(data):
                try:
                    take(kind, flags, stream_id, payload)
                except StreamFault as fault:
                    self._requests.reset(fault)
        except ConnectionFault as fault:
            self._end(fault)
        if not self._greeted and self._conversation.greeted:
            self._greeted = True
            self._due = now + self._idle_seconds
        return self._changed()

    def answer(self, call: Call, message: bytes) -> None:
        """The answer to a call."""
        self._requests.answer(call, message)

    def refuse(self, call: Call, status: Status) -> None:
        """The answer to a call that gets no message."""
        self._requests.finish(call, status_answer(status))

    def take(self) -> bytes:
        """What is to be sent now."""
        return self._outbox.take()

    def expire(self, now: float) -> list[Call]:
        """Let time pass. The calls that are over."""
        if self.fault is not None:
            return []
        self._patience.now = now
        if now >= self._due:
            self._due_now(now)
        self._requests.expire(now)
        return self._changed()

    def drain(self, now: float) -> None:
        """Begin to end: what was asked is answered, and what comes until the client knows."""
        if self.fault is None and not self._conversation.draining:
            self._conversation.drain()
            self._due = now + DRAIN_SECONDS

    def lost(self) -> None:
        """Nothing more can be sent."""
        self._requests.cancel_all()

    def _greet(self, limits: Limits) -> None:
        offered = {
            Setting.HEADER_TABLE_SIZE: 0,
            Setting.MAX_CONCURRENT_STREAMS: limits.streams,
            Setting.INITIAL_WINDOW_SIZE: self._requests.inbox.stream_window,
            Setting.MAX_HEADER_LIST_SIZE: limits.header_bytes,
        }
        self._outbox.control(settings_frame(offered))
        self._requests.inbox.open()

    def _due_now(self, now: float) -> None:
        if not self._greeted:
            self._count(Event.H2_HANDSHAKE_FAILED)
            self._end(ConnectionFault(Code.SETTINGS_TIMEOUT, "no SETTINGS came"))
        elif self._conversation.draining:
            self._conversation.refuse_new()
            self._due = inf
        else:
            self._drain_if_idle(now)

    def _drain_if_idle(self, now: float) -> None:
        if self._requests.streams.calls:
            self._due = now + self._idle_seconds
            return
        self._due = self._requests.opened_at + self._idle_seconds
        if now >= self._due:
            self._count(Event.H2_IDLE_CLOSED)
            self.drain(now)

    def _end(self, fault: ConnectionFault) -> None:
        self._count(Event.H2_CONNECTION_ERROR)
        self.fault = fault
        last_id = self._requests.last_id
        if last_id is None:
            last_id = self._requests.streams.highest
        self._outbox.control(goaway_frame(last_id, fault.code, fault.problem))
        self._requests.cancel_all()

    def _changed(self) -> list[Call]:
        changed, self._requests.changed = self._requests.changed, []
        return changed
