"""The bodies of requests that are not complete, and our receive windows (RFC 9113, section 5.2).

The connection's window is refilled as data arrives. A request that takes too much memory is refused
instead: a full window would stop every call of the connection. A stream's window is as large as a
message may be, so it needs no update.
"""

from typing import Final

from authz.rpc.h2.frames import DEFAULT_WINDOW, END_STREAM, unpadded, window_update_frame
from authz.rpc.h2.responses import NO_MEMORY, PREFIX_BYTES, GrpcStatus, early_refusal
from authz.rpc.h2.send_queue import SendQueue
from authz.rpc.h2.stream_states import Call

WINDOW: Final = 1024 * 1024  # bytes, of the connection


class BodyMemory:
    """Memory for incomplete request bodies, shared by all connections. limit: bytes.

    A connection may hold at most as much as is still free. So one that takes all it can get leaves
    as much to the others.
    """

    __slots__ = ("_free",)

    def __init__(self, limit: int) -> None:
        self._free = limit

    def take(self, held: int, more: int) -> bool:
        """Take `more` bytes for a connection that holds `held` bytes.

        Return whether they were granted. False, with nothing taken, if `held + more` exceeds the
        free bytes.
        """
        if held + more > self._free:
            return False
        self._free -= more
        return True

    def give_back(self, size: int) -> None:
        """Add `size` bytes to the free memory."""
        self._free += size


class RequestBodies:
    """The incomplete request bodies of one connection."""

    __slots__ = ("_consumed", "_held", "_memory", "_message_bytes", "_queue")

    def __init__(self, message_bytes: int, memory: BodyMemory, queue: SendQueue) -> None:
        self._message_bytes = message_bytes
        self._memory = memory
        self._queue = queue
        self._consumed = 0  # bytes since the last WINDOW_UPDATE
        self._held = 0

    @property
    def stream_window(self) -> int:
        """SETTINGS_INITIAL_WINDOW_SIZE in bytes: the largest message with prefix, at least 65,535.

        Clients use 65,535 until they receive it.
        """
        return max(DEFAULT_WINDOW, self._message_bytes + PREFIX_BYTES)

    def widen_connection_window(self) -> None:
        """Queue a WINDOW_UPDATE from the default of 65,535 bytes to WINDOW (1 MiB)."""
        self._queue.control(window_update_frame(0, WINDOW - DEFAULT_WINDOW))

    def consume_window(self, size: int) -> None:
        """Count `size` bytes of a DATA frame, padding included.

        Once half of WINDOW is used, queue a WINDOW_UPDATE for the counted bytes and count from 0.
        """
        self._consumed += size
        if self._consumed * 2 >= WINDOW:
            self._queue.control(window_update_frame(0, self._consumed))
            self._consumed = 0

    def append(self, call: Call, data: bytes) -> GrpcStatus | None:
        """Keep a part of a body. Return None, or the status with which to refuse the call now.

        NO_MEMORY if BodyMemory grants no room, else the result of `early_refusal`. The body of a
        call that is already refused is not kept: NO_MEMORY once it exceeds `message_bytes`.
        """
        call.received += len(data)
        if call.headers.refusal is not None:
            return NO_MEMORY if call.received > self._message_bytes else None
        if not self._memory.take(self._held, len(data)):
            return NO_MEMORY
        self._held += len(data)
        if call.body is None:
            call.body = bytearray()
        call.body += data
        return early_refusal(call.body, self._message_bytes)

    def complete(self, call: Call, last: bytes) -> bytes:
        """Return the parts kept of a body plus its last part, and free the memory of the parts."""
        call.received += len(last)
        if call.body is None:
            return last
        body = bytes(call.body) + last
        self.discard(call)
        return body

    def discard(self, call: Call) -> None:
        """Free the memory of a call's body. No-op if no part is kept."""
        if call.body is not None:
            self._held -= len(call.body)
            self._memory.give_back(len(call.body))
            call.body = None

    def unpad(self, flags: int, call: Call, payload: bytes) -> bytes:
        """Return the data of a PADDED frame without its padding.

        Without END_STREAM, also queue a WINDOW_UPDATE that gives the padding back to the stream.
        Raises ConnectionFault for wrong padding.
        """
        data = unpadded(flags, payload)
        if not flags & END_STREAM:
            self._queue.control(window_update_frame(call.id, len(payload) - len(data)))
        return data
