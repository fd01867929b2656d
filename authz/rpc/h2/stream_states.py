"""The states of a stream (RFC 9113, section 5.1), as a table, and the events of its call.

A call is a stream that the client opened. Half of HTTP/2's states cannot occur: nothing is reserved
for a push, and a stream that we answered early is dropped at once.

    IDLE --HEADERS--> OPEN --END_STREAM--> ANSWERING --response sent--> CLOSED
                       |                      '----RST_STREAM, from either side----> CLOSED
                       '--refused or reset by us--> DROPPED --END_STREAM or RST_STREAM--> CLOSED
"""

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import Final

from authz.rpc.h2.frames import ConnectionFault, ErrorCode, FrameType, StreamFault
from authz.rpc.h2.request_headers import RequestHeaders
from authz.rpc.h2.responses import Response


class StreamState(IntEnum):
    """The state of a stream."""

    IDLE = 0  # not opened yet
    OPEN = 1  # the request is not complete
    ANSWERING = 2  # the request is complete, its response is not sent
    DROPPED = 3  # we ended it early, so the client may still send frames on it
    CLOSED = 4


# For the hot path: to reach a member through its class costs 65 ns each time.
OPEN, ANSWERING, CLOSED = StreamState.OPEN, StreamState.ANSWERING, StreamState.CLOSED


class FrameVerdict(Enum):
    """The treatment of a frame."""

    ACCEPT = "it is in order"
    IGNORE = "it is late, and the client could not know"
    STREAM_CLOSED = "stream error STREAM_CLOSED"
    NEVER_OPENED = "connection error PROTOCOL_ERROR"
    AFTER_END = "connection error STREAM_CLOSED"


RULES: Final[Mapping[StreamState, Mapping[FrameType, FrameVerdict]]] = {
    StreamState.IDLE: {
        FrameType.HEADERS: FrameVerdict.ACCEPT,
        FrameType.DATA: FrameVerdict.NEVER_OPENED,
        FrameType.RST_STREAM: FrameVerdict.NEVER_OPENED,
        FrameType.WINDOW_UPDATE: FrameVerdict.NEVER_OPENED,
    },
    StreamState.OPEN: {
        FrameType.HEADERS: FrameVerdict.ACCEPT,  # trailers
        FrameType.DATA: FrameVerdict.ACCEPT,
        FrameType.RST_STREAM: FrameVerdict.ACCEPT,
        FrameType.WINDOW_UPDATE: FrameVerdict.ACCEPT,
    },
    StreamState.ANSWERING: {
        FrameType.HEADERS: FrameVerdict.STREAM_CLOSED,
        FrameType.DATA: FrameVerdict.STREAM_CLOSED,
        FrameType.RST_STREAM: FrameVerdict.ACCEPT,
        FrameType.WINDOW_UPDATE: FrameVerdict.ACCEPT,
    },
    StreamState.DROPPED: {
        FrameType.HEADERS: FrameVerdict.IGNORE,
        FrameType.DATA: FrameVerdict.IGNORE,
        FrameType.RST_STREAM: FrameVerdict.IGNORE,
        FrameType.WINDOW_UPDATE: FrameVerdict.IGNORE,
    },
    StreamState.CLOSED: {
        FrameType.HEADERS: FrameVerdict.AFTER_END,
        FrameType.DATA: FrameVerdict.AFTER_END,
        FrameType.RST_STREAM: FrameVerdict.IGNORE,
        FrameType.WINDOW_UPDATE: FrameVerdict.IGNORE,
    },
}


class Call:
    """A stream from its HEADERS to the end of its response. deadline: monotonic seconds."""

    # Slots, each set at once: to read a default from the class costs ten times as much.
    __slots__ = (
        "body",
        "credit",
        "deadline",
        "header_block",
        "headers",
        "id",
        "received",
        "response",
        "sent",
        "state",
    )

    def __init__(
        self, stream_id: int, headers: RequestHeaders, deadline: float, header_block: bytes = b""
    ) -> None:
        self.id = stream_id
        self.headers = headers
        self.header_block = header_block  # of the request, as it arrived
        self.deadline = deadline
        self.state = OPEN
        self.received = 0  # bytes of the request's body
        self.body: bytearray | None = None  # of a request that is not complete
        self.response: Response | None = None  # while it waits for the client's windows
        self.sent = 0  # bytes of the response's body
        self.credit = 0  # bytes that the client's WINDOW_UPDATEs gave, less those sent


CallEvent = tuple[Call, bytes | None]
"""A call whose request is complete, with its message. Make its response.

None instead of a message: a call that was reported before has ended without its response.
"""


class StreamStates:
    """The calls of one connection, and the states of streams that have ended.

    max_dropped: how many dropped streams are remembered. highest: the highest stream id so far.
    """

    def __init__(self, max_dropped: int) -> None:
        self.calls: dict[int, Call] = {}  # OPEN and ANSWERING
        self.highest = 0  # stream id
        self._dropped: dict[int, None] = {}  # ids, the oldest first
        self._max_dropped = max_dropped
        self._skipped = range(0)  # the ids that the client passed over last

    def open(self, stream_id: int) -> None:
        """Note that the client uses an id, which must be above `highest`, and set `highest` to it.

        The ids between count as CLOSED.
        """
        if stream_id > self.highest + 2:
            self._skipped = range(self.highest + 1, stream_id)
        self.highest = stream_id

    def drop(self, stream_id: int) -> None:
        """Note that we ended a stream whose request is not complete.

        Above `max_dropped`, the oldest one is forgotten and counts as CLOSED.
        """
        if len(self._dropped) >= self._max_dropped:
            del self._dropped[next(iter(self._dropped))]
        self._dropped[stream_id] = None

    def end_dropped(self, stream_id: int) -> None:
        """Note that the client sends no more on a dropped stream: it is CLOSED.

        No-op for other streams.
        """
        self._dropped.pop(stream_id, None)

    def state(self, stream_id: int) -> StreamState:
        """Return the state of a stream. IDLE for an even id and for an id above `highest`.

        A skipped id is CLOSED.
        """
        call = self.calls.get(stream_id)
        if call is not None:
            return call.state
        if stream_id > self.highest or not stream_id & 1:  # even ids are not the client's to open
            return StreamState.IDLE
        return StreamState.DROPPED if stream_id in self._dropped else StreamState.CLOSED

    def accepts(self, frame_type: FrameType, stream_id: int) -> bool:
        """Return True if a frame is in order, False if it came late and is to be ignored.

        Raises StreamFault for HEADERS or DATA after the request's end. Raises ConnectionFault for a
        frame on a stream that was never opened, and for HEADERS or DATA on a closed stream.
        """
        verdict = RULES[self.state(stream_id)][frame_type]
        if verdict is FrameVerdict.ACCEPT:
            return True
        if verdict is FrameVerdict.IGNORE:
            return False
        if verdict is FrameVerdict.STREAM_CLOSED:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED)
        if verdict is FrameVerdict.NEVER_OPENED or stream_id in self._skipped:
            problem = f"{frame_type.name} on a stream never opened"
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, problem)
        problem = f"{frame_type.name} on a stream that has ended"
        raise ConnectionFault(ErrorCode.STREAM_CLOSED, problem)


def without_unseen(events: list[CallEvent]) -> list[CallEvent]:
    """Return the events without those of calls that both started and were cancelled among them."""
    started = {call.id for call, message in events if message is not None}
    cancelled = {call.id for call, message in events if message is None}
    unseen = started & cancelled
    return [(call, message) for call, message in events if call.id not in unseen]
