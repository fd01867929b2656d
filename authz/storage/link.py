"""One RESP3 connection on which everything arrives in the order in which the store did it.

Rules:
1. A reply or a push is handed over as it is parsed, inside the parser's callback. Who needs order
   acts right there; a task that wakes later has lost it.
2. Every `send` gets exactly one answer: its reply, an error reply, or a fault. None is sent twice.
3. After `abort`, and after the connection is lost, nothing more is handed over but LinkLost.
4. Bounded: more than `max_pending` unanswered commands are refused, not queued.
5. A callback that raises ends the link: what it was told is in doubt, so nothing after it is.

Why not redis-py here: its connection serves one command at a time, its PubSub does not notice a
half-open peer, and a cancelled command costs a reconnect (measured; see the map).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar, cast

import hiredis

from authz.core.errors import Unavailable

MAX_PENDING: Final = 10_000

_INCOMPLETE: Final = object()

_Kind = TypeVar("_Kind")

OnReply = Callable[[Any], None]


class LinkLost(Unavailable):
    """The connection ended before the answer came."""


class Link(asyncio.Protocol):
    """A connection that is already made. `on_push` gets each push as a list, `on_lost` the end."""

    def __init__(
        self,
        on_push: Callable[[list[Any]], None],
        on_lost: Callable[[], None],
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._on_push = on_push
        self._on_lost = on_lost
        self._max_pending = max_pending
        self._reader = hiredis.Reader(
            encoding="utf-8", errors="surrogateescape", notEnoughData=_INCOMPLETE
        )
        self._pending: deque[OnReply] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._open = False
        self._congested = False
        self._fault = "not connected"

    @property
    def is_open(self) -> bool:
        """Can commands be sent?"""
        return self._open

    @property
    def fault(self) -> str:
        """Why it is not open."""
        return self._fault

    def send(self, on_reply: OnReply, *command: str | bytes) -> None:
        """Send one command; `on_reply` gets the reply, or an exception as a value. Never waits.

        Commands sent in one turn of the loop leave in one write.
        """
        if not self._open:
            self._loop.call_soon(on_reply, LinkLost(self._fault))
            return
        if self._congested or len(self._pending) >= self._max_pending:
            self._loop.call_soon(on_reply, Unavailable("the link to the store is overloaded"))
            return
        packed = hiredis.pack_command(cast("Any", command))  # may raise: before anything waits
        self._pending.append(on_reply)
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)

    async def call(self, *command: str) -> Any:
        """Send one command and wait for its reply. Raises what came instead of one."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self.send(partial(_resolve, answer), *command)
        return await answer

    def abort(self, fault: str = "the connection was dropped") -> None:
        """Drop the connection now, without a farewell."""
        transport = self._transport
        self._end(fault)
        if transport is not None:
            transport.abort()

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is not None and unsent:
            self._transport.write(b"".join(unsent))

    def _end(self, fault: str) -> None:
        if not self._open:
            return
        self._open = False
        self._fault = fault
        self._transport = None
        pending, self._pending = self._pending, deque()
        for on_reply in pending:  # each on its own: one that raises takes no other's answer away
            self._loop.call_soon(on_reply, LinkLost(fault))
        self._on_lost()

    def _parse(self) -> Any:
        try:
            return self._reader.gets()
        except (hiredis.ProtocolError, TypeError):  # TypeError: a map with a list for a key
            self.abort("what came is not RESP3")
            return _INCOMPLETE

    def _hand_over(self, message: Any) -> None:
        # RESP3 answers SUBSCRIBE with a push, and with an ordinary reply when it refuses.
        if isinstance(message, hiredis.PushNotification) and message[:1] != ["subscribe"]:
            self._on_push(message)
        elif self._pending:
            self._pending.popleft()(message)
        else:  # nobody asked: how a store with too many clients refuses one more
            self.abort(f"unasked, the store said: {str(message)[:100]}")

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._open = True

    def data_received(self, data: bytes) -> None:
        """Parse what came and hand over each reply and push at once."""
        self._reader.feed(data)
        while self._open and (message := self._parse()) is not _INCOMPLETE:
            self._hand_over(message)

    def pause_writing(self) -> None:
        """The store does not read: refuse commands rather than pile them up."""
        self._congested = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._congested = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._end("the connection was closed")


def _resolve(answer: asyncio.Future[Any], reply: Any) -> None:
    if answer.done():  # its waiter was cancelled
        return
    if isinstance(reply, hiredis.ReplyError):
        answer.set_exception(Unavailable(f"the store refused: {refusal(reply)}"))
    elif isinstance(reply, Exception):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)


def refusal(error: Exception) -> str:
    """An error reply as text. A store that is too old quotes the command, with its password."""
    return str(error).partition(", with args")[0]


def expect(kind: type[_Kind], reply: Any) -> _Kind:
    """A reply of the kind that its command has. Raises Unavailable when it is none."""
    if isinstance(reply, kind):
        return reply
    if isinstance(reply, Exception):
        raise Unavailable(f"the store refused: {refusal(reply)}")
    raise Unavailable(f"unexpected answer: {str(reply)[:100]}")
