"""The calls of one connection: HEADERS, DATA and RST_STREAM -> a request -> its response."""

from collections.abc import Mapping
from functools import partial
from math import inf
from typing import Final

from authz.core.events import Event
from authz.core.ports import Probe
from authz.process.listener import ConnectionLimits
from authz.rpc.h2.flood_budgets import FloodBudgets
from authz.rpc.h2.frames import (
    END_STREAM,
    PADDED,
    ConnectionFault,
    ErrorCode,
    FrameType,
    StreamFault,
    rst_stream_frame,
    unpadded,
    window_update_frame,
)
from authz.rpc.h2.header_blocks import HeaderBlockDecoder, HeaderListTooLong
from authz.rpc.h2.request_bodies import BodyMemory, RequestBodies
from authz.rpc.h2.request_headers import (
    MalformedHeaders,
    MethodHandler,
    RequestHeaders,
    check_trailers,
    parse_request_headers,
)
from authz.rpc.h2.responses import (
    EXPIRED,
    HEADERS_TOO_LARGE,
    MESSAGE_TOO_LARGE,
    GrpcStatus,
    Response,
    status_response,
    unframe_message,
)
from authz.rpc.h2.send_queue import SendQueue
from authz.rpc.h2.stream_states import (
    ANSWERING,
    CLOSED,
    OPEN,
    Call,
    CallEvent,
    Cancelled,
    Started,
    StreamState,
    StreamStates,
)

TOO_LARGE: Final = RequestHeaders(None, status_response(HEADERS_TOO_LARGE))


class RequestStreams:
    """Applies the frames of streams. Methods named after frames raise the faults of frames.py."""

    def __init__(
        self,
        *,
        handlers: Mapping[bytes, MethodHandler],
        limits: ConnectionLimits,
        memory: BodyMemory,
        queue: SendQueue,
        budgets: FloodBudgets,
        probe: Probe,
    ) -> None:
        self.blocks = HeaderBlockDecoder(
            partial(parse_request_headers, handlers), limits.header_bytes
        )
        self.bodies = RequestBodies(limits.message_bytes, memory, queue)
        self.states = StreamStates(max_dropped=limits.streams)
        self.calls = self.states.calls
        self.due = inf  # when the first deadline passes, or earlier
        self.opened_at = budgets.now  # when the last call began
        self.last_id: int | None = None  # of the GOAWAY after which no stream is taken
        self._events: list[CallEvent] = []
        self._cancelled = False  # whether _events has a Cancelled
        self._limits = limits
        self._queue = queue
        self._budgets = budgets
        self._probe = probe

    def take_events(self) -> list[CallEvent]:
        """Remove and return the events since the last time, in order.

        A call that started and was cancelled in between is not among them.
        """
        events, self._events = self._events, []
        if self._cancelled:
            self._cancelled = False
            return _without_unseen(events)
        return events

    def headers(self, flags: int, stream_id: int, block: bytes | None) -> None:
        """Apply a whole header block. block: None if its header list was over the limit."""
        if not stream_id & 1:
            problem = "HEADERS on a stream that is not a client's"
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, problem)
        if stream_id <= self.states.highest:
            self._trailers(flags, stream_id, block)
            return
        self.states.open(stream_id)
        try:
            headers = TOO_LARGE if block is None else self.blocks.decode(block)
        except HeaderListTooLong:
            headers = TOO_LARGE
        except MalformedHeaders:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR) from None
        if headers is TOO_LARGE:
            self._probe.count(Event.H2_HEADERS_TOO_LARGE)
        if self.last_id is not None:  # our GOAWAY tells the client that it is not processed
            self._budgets.spend(Event.H2_CONTROL_FLOOD)
            self.states.drop(stream_id)
            return
        if len(self.calls) >= self._limits.streams:
            self._probe.count(Event.H2_STREAM_REFUSED)
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM)
        call = Call(stream_id, headers, self._budgets.now + headers.timeout)
        if block is not None:
            call.header_block = block
        self._open(call, flags)

    def data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Apply a DATA frame."""
        self.bodies.consume_window(len(payload))
        call = self.calls.get(stream_id)
        if call is None or call.state is not OPEN:
            self.states.accepts(FrameType.DATA, stream_id)  # raises, or the frame is late
            if flags & END_STREAM:
                self.states.end_dropped(stream_id)
            elif not payload:
                self._budgets.spend(Event.H2_EMPTY_FLOOD)
            return
        if flags & PADDED:
            payload = self._unpad(flags, call, payload)
        if flags & END_STREAM:
            self._complete(call, self.bodies.complete(call, payload))
            return
        if not payload:
            self._budgets.spend(Event.H2_EMPTY_FLOOD)
        status = self.bodies.append(call, payload)
        if status is not None:
            self._refuse_early(call, status)

    def rst_stream(self, stream_id: int) -> None:
        """Apply a RST_STREAM frame."""
        if self.states.accepts(FrameType.RST_STREAM, stream_id):
            self._budgets.spend(Event.H2_RESET_FLOOD)
            self.cancel(self.calls[stream_id])
        else:
            self._budgets.spend(Event.H2_CONTROL_FLOOD)
            self.states.end_dropped(stream_id)

    def window_update(self, stream_id: int, increment: int) -> None:
        """Apply a WINDOW_UPDATE frame of a stream."""
        if not self.states.accepts(FrameType.WINDOW_UPDATE, stream_id):
            return
        if increment == 0:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
        self._queue.widen_stream(self.calls[stream_id], increment)

    def respond(self, call: Call, message: bytes) -> None:
        """Answer a call with a message. Does nothing if the call has ended."""
        unanswered = call.state is ANSWERING and call.response is None
        if unanswered and self._queue.message(call, message):
            self._close(call)

    def refuse(self, call: Call, response: Response) -> None:
        """Answer a call with a response that has no message. Does nothing if the call has ended."""
        unanswered = call.state is ANSWERING and call.response is None
        if unanswered and self._queue.response(call, response):
            self._close(call)

    def send_waiting(self) -> None:
        """Send more of the responses: the client's windows may have grown."""
        for call in self._queue.send_waiting():
            self._close(call)

    def reset(self, fault: StreamFault) -> None:
        """Apply a stream error. Raises ConnectionFault if there are too many."""
        if self.states.state(fault.stream_id) is StreamState.IDLE:  # nothing to reset
            raise ConnectionFault(fault.code, "an error on a stream never opened")
        self._probe.count(Event.H2_STREAM_ERROR)
        self._budgets.spend(Event.H2_RESET_FLOOD)
        self._queue.control(rst_stream_frame(fault.stream_id, fault.code))
        call = self.calls.get(fault.stream_id)
        if call is not None:
            self.cancel(call)
        self.states.drop(fault.stream_id)

    def cancel(self, call: Call) -> None:
        """End a call without its own response."""
        self._queue.discard(call)
        self.bodies.discard(call)
        if call.state is ANSWERING and call.response is None:
            self._events.append(Cancelled(call))
            self._cancelled = True
        call.state = CLOSED
        del self.calls[call.id]

    def cancel_all(self) -> None:
        """End every call: the connection is over."""
        for call in list(self.calls.values()):
            self.cancel(call)

    def expire(self, now: float) -> None:
        """End the calls whose deadline has passed."""
        self.due = inf
        for call in list(self.calls.values()):
            if call.deadline > now:
                self.due = min(self.due, call.deadline)
                continue
            self._probe.count(Event.H2_CALL_EXPIRED)
            if call.state is OPEN:
                self._refuse_early(call, EXPIRED)
            elif call.response is None:
                self._queue.response(call, status_response(EXPIRED))
                self.cancel(call)
            else:  # the client does not take its response
                self._queue.control(rst_stream_frame(call.id, ErrorCode.CANCEL))
                self.cancel(call)

    def _open(self, call: Call, flags: int) -> None:
        self.calls[call.id] = call
        self.opened_at = self._budgets.now
        if call.deadline < self.due:  # noqa: PLR1730  a call of min() costs too much here
            self.due = call.deadline
        if flags & END_STREAM:
            self._complete(call, b"")

    def _complete(self, call: Call, body: bytes) -> None:
        headers = call.headers
        if headers.content_length is not None and headers.content_length != call.received:
            raise StreamFault(call.id, ErrorCode.PROTOCOL_ERROR)
        call.state = ANSWERING
        if headers.refusal is not None:
            self.refuse(call, headers.refusal)
            return
        message = unframe_message(body, self._limits.message_bytes)
        if isinstance(message, GrpcStatus):
            self._count_too_large(message)
            self.refuse(call, status_response(message))
            return
        self._events.append(Started(call, message))

    def _trailers(self, flags: int, stream_id: int, block: bytes | None) -> None:
        try:
            fields = [] if block is None else self.blocks.fields(block)
        except HeaderListTooLong:
            fields = []
        if not self.states.accepts(FrameType.HEADERS, stream_id):
            self._budgets.spend(Event.H2_CONTROL_FLOOD)
            if flags & END_STREAM:
                self.states.end_dropped(stream_id)
            return
        try:
            check_trailers(fields)
        except MalformedHeaders:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR) from None
        if not flags & END_STREAM:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
        call = self.calls[stream_id]
        self._complete(call, self.bodies.complete(call, b""))

    def _refuse_early(self, call: Call, status: GrpcStatus) -> None:
        """Answer a request that is not complete, and tell the client to stop sending it."""
        self._count_too_large(status)
        is_sent = self._queue.response(call, call.headers.refusal or status_response(status))
        code = ErrorCode.NO_ERROR if is_sent else ErrorCode.CANCEL
        self._queue.control(rst_stream_frame(call.id, code))
        self.cancel(call)
        self.states.drop(call.id)

    def _count_too_large(self, status: GrpcStatus) -> None:
        if status is MESSAGE_TOO_LARGE:
            self._probe.count(Event.H2_MESSAGE_TOO_LARGE)

    def _unpad(self, flags: int, call: Call, payload: bytes) -> bytes:
        """Return the data without its padding, and give the padding's part of the window back."""
        data = unpadded(flags, payload)
        if not flags & END_STREAM:
            self._queue.control(window_update_frame(call.id, len(payload) - len(data)))
        return data

    def _close(self, call: Call) -> None:
        call.state = CLOSED
        self._budgets.answered += 1
        del self.calls[call.id]


def _without_unseen(events: list[CallEvent]) -> list[CallEvent]:
    """Return the events without those of calls that both started and were cancelled among them."""
    started = {event.call.id for event in events if isinstance(event, Started)}
    cancelled = {event.call.id for event in events if isinstance(event, Cancelled)}
    unseen = started & cancelled
    return [event for event in events if event.call.id not in unseen]
