"""The requests of one connection: HEADERS, DATA and RST_STREAM -> a call and its message."""

from collections.abc import Collection, Mapping
from functools import partial
from math import inf
from typing import Final

from authz.core.events import Event
from authz.core.ports import Probe
from authz.process.listener import ConnectionLimits
from authz.rpc.h2.call_responses import CallResponses
from authz.rpc.h2.flood_budgets import FloodBudgets
from authz.rpc.h2.frames import (
    END_STREAM,
    PADDED,
    ConnectionFault,
    ErrorCode,
    FrameType,
    StreamFault,
    rst_stream_frame,
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
    StreamState,
    StreamStates,
    without_unseen,
)

TOO_LARGE: Final = RequestHeaders(None, status_response(HEADERS_TOO_LARGE))


class RequestStreams:
    """Applies the frames of streams. responses: takes the responses of the calls.

    Methods named after frames raise ConnectionFault or StreamFault, also if a flood budget is used
    up. due: seconds, when the first deadline passes, or earlier. opened_at: seconds, when the last
    call began. last_id: of the last GOAWAY, None before it. events: since `take_events`.
    """

    def __init__(
        self,
        *,
        handlers: Mapping[bytes, MethodHandler],
        limits: ConnectionLimits,
        memory: BodyMemory,
        queue: SendQueue,
        budgets: FloodBudgets,
        probe: Probe,
        tokens: Collection[bytes] = (),
    ) -> None:
        self.blocks = HeaderBlockDecoder(
            partial(parse_request_headers, handlers, tokens=tokens), limits.header_bytes
        )
        self.bodies = RequestBodies(limits.message_bytes, memory, queue)
        self.states = StreamStates(max_dropped=limits.streams)
        self.calls = self.states.calls
        self.responses = CallResponses(self.calls, queue, budgets)
        self.due = inf  # when the first deadline passes, or earlier
        self.opened_at = budgets.now  # when the last call began
        self.last_id: int | None = None  # of the GOAWAY after which no stream is taken
        self.events: list[CallEvent] = []
        self._cancelled = False  # whether `events` has a call that has ended
        self._limits = limits
        self._queue = queue
        self._budgets = budgets
        self._probe = probe

    def take_events(self) -> list[CallEvent]:
        """Remove and return the events since the last call of this method, in order.

        A call that both started and was cancelled since then is left out.
        """
        events, self.events = self.events, []
        if self._cancelled:
            self._cancelled = False
            return without_unseen(events)
        return events

    def headers(self, flags: int, stream_id: int, block: bytes | None) -> None:
        """Apply a whole header block: open a call, or end its request with trailers.

        block: None if it was over the limit; such a call, like one with too long a header list, is
        refused. After the last GOAWAY a new stream is dropped. Raises ConnectionFault for an even
        id or a block that hpack refuses. Raises StreamFault for malformed fields, or if too many
        calls are open.
        """
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
        now = self._budgets.now
        deadline = now + headers.timeout
        call = self.calls[stream_id] = Call(stream_id, headers, deadline, block or b"")
        self.opened_at = now
        if deadline < self.due:  # noqa: PLR1730  a call of min() costs too much here
            self.due = deadline
        if flags & END_STREAM:
            self._complete(call, b"")

    def data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Apply a DATA frame: keep its part of the body, or with END_STREAM complete the request.

        A body that is too large or not one message is refused early. On a dropped stream the data
        is discarded. Raises StreamFault if the content-length is wrong or the request had ended,
        ConnectionFault if the stream was never opened or is closed, or for wrong padding.
        """
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
            payload = self.bodies.unpad(flags, call, payload)
        if flags & END_STREAM:
            self._complete(call, self.bodies.complete(call, payload))
            return
        if not payload:
            self._budgets.spend(Event.H2_EMPTY_FLOOD)
        status = self.bodies.append(call, payload)
        if status is not None:
            self._refuse_early(call, status)

    def rst_stream(self, stream_id: int) -> None:
        """Cancel the call, at a unit of the reset budget.

        On a stream that has ended, costs a unit of the control budget instead. Raises
        ConnectionFault if the stream was never opened.
        """
        if self.states.accepts(FrameType.RST_STREAM, stream_id):
            self._budgets.spend(Event.H2_RESET_FLOOD)
            self.cancel(self.calls[stream_id])
        else:
            self._budgets.spend(Event.H2_CONTROL_FLOOD)
            self.states.end_dropped(stream_id)

    def window_update(self, stream_id: int, increment: int) -> None:
        """Widen the window of a stream by `increment` bytes. Ignored if the stream has ended.

        Waiting data is sent by `CallResponses.send_waiting`. Raises StreamFault for 0 or a window
        over MAX_WINDOW, ConnectionFault if the stream was never opened.
        """
        if not self.states.accepts(FrameType.WINDOW_UPDATE, stream_id):
            return
        if increment == 0:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR)
        self._queue.widen_stream(self.calls[stream_id], increment)

    def reset(self, fault: StreamFault) -> None:
        """Queue RST_STREAM for a stream error, count it, and cancel the stream's call, if any.

        Costs a unit of the reset budget. Raises ConnectionFault if the stream was never opened, or
        if the budget of a client that is not trusted is used up.
        """
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
        """End a call, and discard its body and its unsent response. Nothing is sent to the client.

        If its request was complete and had no response yet, report its end.
        """
        self._queue.discard(call)
        self.bodies.discard(call)
        if call.state is ANSWERING and call.response is None:
            self.events.append((call, None))
            self._cancelled = True
        call.state = CLOSED
        del self.calls[call.id]

    def cancel_all(self) -> None:
        """Cancel every call, as `cancel` does."""
        for call in list(self.calls.values()):
            self.cancel(call)

    def expire(self, now: float) -> None:
        """End and count the calls whose deadline is not after `now` (seconds), and set `due`.

        They get DEADLINE_EXCEEDED. A call whose response waits for a window gets RST_STREAM
        instead.
        """
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

    def _complete(self, call: Call, body: bytes) -> None:
        headers = call.headers
        if headers.content_length is not None and headers.content_length != call.received:
            raise StreamFault(call.id, ErrorCode.PROTOCOL_ERROR)
        call.state = ANSWERING
        if headers.refusal is not None:
            self.responses.refuse(call, headers.refusal)
            return
        message = unframe_message(body, self._limits.message_bytes)
        if isinstance(message, GrpcStatus):
            self._count_too_large(message)
            self.responses.refuse(call, status_response(message))
            return
        self.events.append((call, message))

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
        """Answer an incomplete request, reset its stream, cancel the call, and drop the stream.

        An earlier refusal of its headers is sent instead of `status`. The reset has NO_ERROR, or
        CANCEL if the response did not fit into the windows. MESSAGE_TOO_LARGE is counted.
        """
        self._count_too_large(status)
        is_sent = self._queue.response(call, call.headers.refusal or status_response(status))
        code = ErrorCode.NO_ERROR if is_sent else ErrorCode.CANCEL
        self._queue.control(rst_stream_frame(call.id, code))
        self.cancel(call)
        self.states.drop(call.id)

    def _count_too_large(self, status: GrpcStatus) -> None:
        if status is MESSAGE_TOO_LARGE:
            self._probe.count(Event.H2_MESSAGE_TOO_LARGE)
