"""What has come of requests that are not complete, and our windows (RFC 9113, section 5.2).

The connection's window is filled up as data comes: who holds too much is refused instead, because
a full window would stop every call of the connection. A stream's window is as large as a message
may be, so it needs no update.
"""

from typing import Final

from authz.rpc.h2.answers import NO_MEMORY, PREFIX_BYTES, Status, refused_early
from authz.rpc.h2.frames import DEFAULT_WINDOW, window_update_frame
from authz.rpc.h2.limits import Hold
from authz.rpc.h2.outbox import Outbox
from authz.rpc.h2.streams import Call

WINDOW: Final = 1024 * 1024  # of the connection


class Inbox:
    """Request bodies that come in more than one frame."""

    __slots__ = ("_consumed", "_held", "_hold", "_message_bytes", "_outbox")

    def __init__(self, message_bytes: int, hold: Hold, outbox: Outbox) -> None:
        self._message_bytes = message_bytes
        self._hold = hold
        self._outbox = outbox
        self._consumed = 0  # since the last WINDOW_UPDATE
        self._held = 0

    @property
    def stream_window(self) -> int:
        """SETTINGS_INITIAL_WINDOW_SIZE. Clients begin with the default before they hear of ours."""
        return max(DEFAULT_WINDOW, self._message_bytes + PREFIX_BYTES)

    def open(self) -> None:
        """Widen the connection's window."""
        self._outbox.control(window_update_frame(0, WINDOW - DEFAULT_WINDOW))

    def received(self, size: int) -> None:
        """So many bytes of DATA came, padding included, on whatever stream."""
        self._consumed += size
        if self._consumed * 2 >= WINDOW:
            self._outbox.control(window_update_frame(0, self._consumed))
            self._consumed = 0

    def grow(self, call: Call, data: bytes) -> Status | None:
        """Keep a part of a body. A status when the call is to be refused now."""
        call.received += len(data)
        if call.head.refusal is not None:
            return NO_MEMORY if call.received > self._message_bytes else None
        if not self._hold.take(self._held, len(data)):
            return NO_MEMORY
        self._held += len(data)
        if call.body is None:
            call.body = bytearray()
        call.body += data
        return refused_early(call.body, self._message_bytes)

    def whole(self, call: Call, last: bytes) -> bytes:
        """The body, now that its last part is here."""
        call.received += len(last)
        if call.body is None:
            return last
        body = bytes(call.body) + last
        self.forget(call)
        return body

    def forget(self, call: Call) -> None:
        """Give the memory of a call back."""
        if call.body is not None:
            self._held -= len(call.body)
            self._hold.give(len(call.body))
            call.body = None
