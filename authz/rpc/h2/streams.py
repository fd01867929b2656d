"""Which frame is in order in which state of a stream (RFC 9113, section 5.1), as a table.

A call is a stream that the client opened. Ours end with one answer, so half of the states that
HTTP/2 has cannot be: nothing is reserved, and what we have answered early is dropped at once.

    IDLE --HEADERS--> OPEN --END_STREAM--> ANSWERING --answer sent--> CLOSED
                       |                      '----RST_STREAM, from either side----> CLOSED
                       '--refused or reset by us--> DROPPED --END_STREAM or RST_STREAM--> CLOSED
"""

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import Final

from authz.rpc.h2.answers import Answer
from authz.rpc.h2.frames import Code, ConnectionFault, Kind, StreamFault
from authz.rpc.h2.head import Head


class State(IntEnum):
    """Where a stream is."""

    IDLE = 0  # not opened yet
    OPEN = 1  # the request is not complete
    ANSWERING = 2  # the request is complete, its answer is being made or sent
    DROPPED = 3  # we ended it early, so frames of it may be on their way
    CLOSED = 4


# For code that every call passes: to reach a member through its class costs 65 ns each time.
OPEN, ANSWERING, CLOSED = State.OPEN, State.ANSWERING, State.CLOSED


class Verdict(Enum):
    """What becomes of a frame."""

    TAKE = "it is in order"
    DROP = "it came too late, nobody's fault"
    RESET = "stream error STREAM_CLOSED"
    UNEXPECTED = "connection error PROTOCOL_ERROR"
    AFTER_END = "connection error STREAM_CLOSED"


RULES: Final[Mapping[State, Mapping[Kind, Verdict]]] = {
    State.IDLE: {
        Kind.HEADERS: Verdict.TAKE,
        Kind.DATA: Verdict.UNEXPECTED,
        Kind.RST_STREAM: Verdict.UNEXPECTED,
        Kind.WINDOW_UPDATE: Verdict.UNEXPECTED,
    },
    State.OPEN: {
        Kind.HEADERS: Verdict.TAKE,  # trailers
        Kind.DATA: Verdict.TAKE,
        Kind.RST_STREAM: Verdict.TAKE,
        Kind.WINDOW_UPDATE: Verdict.TAKE,
    },
    State.ANSWERING: {
        Kind.HEADERS: Verdict.RESET,
        Kind.DATA: Verdict.RESET,
        Kind.RST_STREAM: Verdict.TAKE,
        Kind.WINDOW_UPDATE: Verdict.TAKE,
    },
    State.DROPPED: {
        Kind.HEADERS: Verdict.DROP,
        Kind.DATA: Verdict.DROP,
        Kind.RST_STREAM: Verdict.DROP,
        Kind.WINDOW_UPDATE: Verdict.DROP,
    },
    State.CLOSED: {
        Kind.HEADERS: Verdict.AFTER_END,
        Kind.DATA: Verdict.AFTER_END,
        Kind.RST_STREAM: Verdict.DROP,
        Kind.WINDOW_UPDATE: Verdict.DROP,
    },
}


class Call:
    """A stream from its HEADERS to its answer."""

    state = OPEN
    block = b""  # of its headers, as it came
    received = 0  # bytes of the request's body
    body: bytearray | None = None  # of a request that came in part
    message = b""  # once the request is complete
    answer: Answer | None = None  # that waits for the client's windows
    sent = 0  # bytes of its body
    credit = 0  # what the client's WINDOW_UPDATEs gave, less what was sent

    def __init__(self, stream_id: int, head: Head, deadline: float) -> None:
        self.id = stream_id
        self.head = head
        self.deadline = deadline


class Streams:
    """The calls of one connection, and what is known of streams that ended."""

    def __init__(self, most_dropped: int) -> None:
        self.calls: dict[int, Call] = {}  # OPEN and ANSWERING
        self.highest = 0
        self._dropped: dict[int, None] = {}  # in the order in which they were
        self._most_dropped = most_dropped
        self._skipped = range(0)  # the ids that were passed over last

    def pass_by(self, stream_id: int) -> None:
        """An id was used: lower ones that were not never can be."""
        if stream_id > self.highest + 2:
            self._skipped = range(self.highest + 1, stream_id)
        self.highest = stream_id

    def drop(self, stream_id: int) -> None:
        """We ended a stream whose request is not complete."""
        if len(self._dropped) >= self._most_dropped:
            del self._dropped[next(iter(self._dropped))]
        self._dropped[stream_id] = None

    def ended_by_client(self, stream_id: int) -> None:
        """The client sends no more on a dropped stream."""
        self._dropped.pop(stream_id, None)

    def state(self, stream_id: int) -> State:
        """Where a stream is."""
        call = self.calls.get(stream_id)
        if call is not None:
            return call.state
        if stream_id > self.highest or not stream_id & 1:  # even ones are not the client's to open
            return State.IDLE
        return State.DROPPED if stream_id in self._dropped else State.CLOSED

    def admit(self, kind: Kind, stream_id: int) -> bool:
        """Is such a frame in order? False: drop it. Raises ConnectionFault and StreamFault."""
        verdict = RULES[self.state(stream_id)][kind]
        if verdict is Verdict.TAKE:
            return True
        if verdict is Verdict.DROP:
            return False
        if verdict is Verdict.RESET:
            raise StreamFault(stream_id, Code.STREAM_CLOSED)
        if verdict is Verdict.UNEXPECTED or stream_id in self._skipped:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"{kind.name} on a stream never opened")
        raise ConnectionFault(Code.STREAM_CLOSED, f"{kind.name} on a stream that has ended")
