"""The calls of one connection: from HEADERS, DATA and RST_STREAM to a message, and to an answer."""

from collections.abc import Mapping
from functools import partial
from math import inf
from typing import Final

from authz.core.events import Event
from authz.core.ports import Probe
from authz.process.listener import Limits
from authz.rpc.h2.answers import (
    EXPIRED,
    HEADERS_TOO_LARGE,
    MESSAGE_TOO_LARGE,
    Answer,
    Status,
    status_answer,
    unframed,
)
from authz.rpc.h2.blocks import HeaderBlocks, TooLong
from authz.rpc.h2.frames import (
    END_STREAM,
    PADDED,
    Code,
    ConnectionFault,
    Kind,
    StreamFault,
    rst_stream_frame,
    unpadded,
    window_update_frame,
)
from authz.rpc.h2.head import Head, Malformed, Route, check_trailers, read_head
from authz.rpc.h2.inbox import Inbox
from authz.rpc.h2.limits import FloodBudgets, Hold
from authz.rpc.h2.outbox import Outbox
from authz.rpc.h2.streams import ANSWERING, CLOSED, OPEN, Call, State, Streams

TOO_LARGE: Final = Head(None, status_answer(HEADERS_TOO_LARGE))


class Requests:
    """Takes the frames of streams. Methods named after frames raise faults."""

    def __init__(
        self,
        *,
        routes: Mapping[bytes, Route],
        limits: Limits,
        hold: Hold,
        outbox: Outbox,
        patience: FloodBudgets,
        probe: Probe,
    ) -> None:
        self.blocks = HeaderBlocks(partial(read_head, routes), limits.header_bytes)
        self.inbox = Inbox(limits.message_bytes, hold, outbox)
        self.streams = Streams(most_dropped=limits.streams)
        self.changed: list[Call] = []  # complete, or cancelled
        self.due = inf  # when the first deadline passes, or earlier
        self.opened_at = patience.now  # when the last call was
        self.last_id: int | None = None  # named by the GOAWAY that takes no more
        self._calls = self.streams.calls
        self._limits = limits
        self._outbox = outbox
        self._patience = patience
        self.count = probe.count

    def headers(self, flags: int, stream_id: int, block: bytes | None) -> None:
        """A whole header block. None: it was over the limit, and nothing depends on it."""
        if not stream_id & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "HEADERS on a stream that is not a client's")
        if stream_id <= self.streams.highest:
            self._trailers(flags, stream_id, block)
            return
        self.streams.pass_by(stream_id)
        try:
            head = TOO_LARGE if block is None else self.blocks.decode(block)
        except TooLong:
            head = TOO_LARGE
        except Malformed:
            raise StreamFault(stream_id, Code.PROTOCOL_ERROR) from None
        if head is TOO_LARGE:
            self.count(Event.H2_HEADERS_TOO_LARGE)
        if self.last_id is not None:  # it comes after our GOAWAY, which tells the client
            self._patience.spend(Event.H2_CONTROL_FLOOD)
            self.streams.drop(stream_id)
            return
        if len(self._calls) >= self._limits.streams:
            self.count(Event.H2_STREAM_REFUSED)
            raise StreamFault(stream_id, Code.REFUSED_STREAM)
        call = Call(stream_id, head, self._patience.now + head.timeout)
        if block is not None:
            call.block = block
        self._open(call, flags)

    def data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """A DATA frame."""
        self.inbox.received(len(payload))
        call = self._calls.get(stream_id)
        if call is None or call.state is not OPEN:
            self.streams.admit(Kind.DATA, stream_id)  # whatever is in order comes too late
            if flags & END_STREAM:
                self.streams.ended_by_client(stream_id)
            elif not payload:
                self._patience.spend(Event.H2_EMPTY_FLOOD)
            return
        if flags & PADDED:
            payload = self._unpadded(flags, call, payload)
        if flags & END_STREAM:
            self._complete(call, self.inbox.whole(call, payload))
            return
        if not payload:
            self._patience.spend(Event.H2_EMPTY_FLOOD)
        status = self.inbox.grow(call, payload)
        if status is not None:
            self._refuse_early(call, status)

    def rst_stream(self, stream_id: int) -> None:
        """A RST_STREAM frame."""
        if self.streams.admit(Kind.RST_STREAM, stream_id):
            self._patience.spend(Event.H2_RESET_FLOOD)
            self.cancel(self._calls[stream_id])
        else:
            self._patience.spend(Event.H2_CONTROL_FLOOD)
            self.streams.ended_by_client(stream_id)

    def window_update(self, stream_id: int, increment: int) -> None:
        """A WINDOW_UPDATE of a stream."""
        if not self.streams.admit(Kind.WINDOW_UPDATE, stream_id):
            return
        if increment == 0:
            raise StreamFault(stream_id, Code.PROTOCOL_ERROR)
        self._outbox.widen_stream(self._calls[stream_id], increment)

    def answer(self, call: Call, message: bytes) -> None:
        """See `finish`; with a message."""
        unanswered = call.state is ANSWERING and call.answer is None
        if unanswered and self._outbox.message(call, message):
            self._close(call)

    def finish(self, call: Call, answer: Answer) -> None:
        """Answer a call whose request is complete. Does nothing when it is over."""
        unanswered = call.state is ANSWERING and call.answer is None
        if unanswered and self._outbox.answer(call, answer):
            self._close(call)

    def send_waiting(self) -> None:
        """The client's windows may have grown."""
        for call in self._outbox.send_waiting():
            self._close(call)

    def reset(self, fault: StreamFault) -> None:
        """A stream error. Raises ConnectionFault when there are too many."""
        if self.streams.state(fault.stream_id) is State.IDLE:  # nothing to be reset
            raise ConnectionFault(fault.code, "an error on a stream never opened")
        self.count(Event.H2_STREAM_ERROR)
        self._patience.spend(Event.H2_RESET_FLOOD)
        self._outbox.control(rst_stream_frame(fault.stream_id, fault.code))
        call = self._calls.get(fault.stream_id)
        if call is not None:
            self.cancel(call)
        self.streams.drop(fault.stream_id)

    def cancel(self, call: Call) -> None:
        """The call is over, without an answer or with one that is not of its making."""
        self._outbox.forget(call)
        self.inbox.forget(call)
        if call.state is ANSWERING:
            self.changed.append(call)
        call.state = CLOSED
        del self._calls[call.id]

    def cancel_all(self) -> None:
        """The connection is over."""
        for call in list(self._calls.values()):
            self.cancel(call)

    def expire(self, now: float) -> None:
        """End the calls whose deadline has passed."""
        self.due = inf
        for call in list(self._calls.values()):
            if call.deadline > now:
                self.due = min(self.due, call.deadline)
                continue
            self.count(Event.H2_CALL_EXPIRED)
            if call.state is OPEN:
                self._refuse_early(call, EXPIRED)
            elif call.answer is None:
                self._outbox.answer(call, status_answer(EXPIRED))
                self.cancel(call)
            else:  # the client does not take its answer
                self._outbox.control(rst_stream_frame(call.id, Code.CANCEL))
                self.cancel(call)

    def _open(self, call: Call, flags: int) -> None:
        self._calls[call.id] = call
        self.opened_at = self._patience.now
        if call.deadline < self.due:  # noqa: PLR1730  on the hot path, a call of min() shows
            self.due = call.deadline
        if flags & END_STREAM:
            self._complete(call, b"")

    def _complete(self, call: Call, body: bytes) -> None:
        call.state = ANSWERING
        head = call.head
        if head.content_length is not None and head.content_length != call.received:
            raise StreamFault(call.id, Code.PROTOCOL_ERROR)
        if head.refusal is not None:
            self.finish(call, head.refusal)
            return
        message = unframed(body, self._limits.message_bytes)
        if isinstance(message, Status):
            self._note(message)
            self.finish(call, status_answer(message))
            return
        call.message = message
        self.changed.append(call)

    def _trailers(self, flags: int, stream_id: int, block: bytes | None) -> None:
        try:
            fields = [] if block is None else self.blocks.fields(block)
        except TooLong:
            fields = []
        if not self.streams.admit(Kind.HEADERS, stream_id):
            self._patience.spend(Event.H2_CONTROL_FLOOD)
            if flags & END_STREAM:
                self.streams.ended_by_client(stream_id)
            return
        try:
            check_trailers(fields)
        except Malformed:
            raise StreamFault(stream_id, Code.PROTOCOL_ERROR) from None
        if not flags & END_STREAM:
            raise StreamFault(stream_id, Code.PROTOCOL_ERROR)
        call = self._calls[stream_id]
        self._complete(call, self.inbox.whole(call, b""))

    def _refuse_early(self, call: Call, status: Status) -> None:
        """Answer a request that is not complete, and tell the client to stop."""
        self._note(status)
        whole = self._outbox.answer(call, call.head.refusal or status_answer(status))
        self._outbox.control(rst_stream_frame(call.id, Code.NO_ERROR if whole else Code.CANCEL))
        self.cancel(call)
        self.streams.drop(call.id)

    def _note(self, status: Status) -> None:
        if status is MESSAGE_TOO_LARGE:
            self.count(Event.H2_MESSAGE_TOO_LARGE)

    def _unpadded(self, flags: int, call: Call, payload: bytes) -> bytes:
        """The data without its padding, which the stream's window gets back."""
        data = unpadded(flags, payload)
        if not flags & END_STREAM:
            self._outbox.control(window_update_frame(call.id, len(payload) - len(data)))
        return data

    def _close(self, call: Call) -> None:
        call.state = CLOSED
        self._patience.answered += 1
        del self._calls[call.id]
