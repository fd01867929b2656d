"""Link: one RESP3 connection whose replies and pushes arrive in the store's order.

Rules:
1. The parser's callback delivers each reply and push at once. Code that needs the order acts inside
   that callback. A task that wakes later no longer knows the order.
2. Every `send` gets exactly one answer: its reply, an error reply, or a fault. No command is sent
   twice.
3. After `abort` or a lost connection, pending commands get LinkLost and nothing else is delivered.
4. The number of unanswered commands is bounded by `max_pending`. More are refused, not queued.
5. A callback that raises ends the link, because its message may not have been applied.

redis-py is not used here. Its connection serves one command at a time, its PubSub does not notice a
half-open peer, and a cancelled command costs a reconnect (docs/decisions/02-one-ordered-link.md).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar, cast

import hiredis

from authz.core.errors import Unavailable
from authz.core.listen_address import Address
from authz.storage.refusals import refusal

MAX_PENDING: Final = 10_000

_INCOMPLETE: Final = object()

_Kind = TypeVar("_Kind")

OnReply = Callable[[Any], None]


class LinkLost(Unavailable):
    """The connection ended before the reply arrived. The store may have run the command or not."""


class Link(asyncio.Protocol):
    """An asyncio protocol. `on_push` gets each push as a list.

    `on_lost` is called once, at the end. max_pending: unanswered commands at one time. More are
    refused with Unavailable.
    """

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
        self.address: Address | None = None
        """The address of the server, if it was connected by one."""

    @property
    def is_open(self) -> bool:
        """True from the moment of the connection until it ends: only then `send` writes."""
        return self._open

    @property
    def fault(self) -> str:
        """The reason why the link is not open. It has no meaning while the link is open."""
        return self._fault

    def send(self, on_reply: OnReply, *command: str | bytes) -> None:
        """Send one command; `on_reply` gets the reply, or an exception as a value. Never waits.

        `on_reply` gets LinkLost if the link is not open or ends, Unavailable if the link is
        overloaded, and hiredis.ReplyError if the store refuses. Commands sent in one iteration of
        the event loop leave in one write.
        """
        if not self._open:
            self._loop.call_soon(on_reply, LinkLost(self._fault))
            return
        if self._congested or len(self._pending) >= self._max_pending:
            self._loop.call_soon(on_reply, Unavailable("the link to the store is overloaded"))
            return
        packed = hiredis.pack_command(cast("Any", command))  # may raise, so before the append
        self._pending.append(on_reply)
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)

    async def call(self, *command: str) -> Any:
        """Send one command, wait for its reply and return it. No timeout.

        Raises Unavailable for an error reply, a lost link or an overloaded one.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        self.send(partial(_resolve, answer), *command)
        return await answer

    def abort(self, fault: str = "the connection was dropped") -> None:
        """Close the connection at once, without sending what is still buffered.

        `fault` becomes the reason. Pending commands get LinkLost, and `on_lost` is called. Does
        nothing if the link is not open.
        """
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
        for on_reply in pending:  # each in its own callback: one that raises does not stop others
            self._loop.call_soon(on_reply, LinkLost(fault))
        self._on_lost()

    def _parse(self) -> Any:
        try:
            return self._reader.gets()
        except (hiredis.ProtocolError, TypeError):  # TypeError: a map with a list for a key
            self.abort("the store sent bytes that are not RESP3")
            return _INCOMPLETE

    def _deliver(self, message: Any) -> None:
        # RESP3 answers SUBSCRIBE with a push, but with an ordinary reply if it is refused.
        if isinstance(message, hiredis.PushNotification) and message[:1] != ["subscribe"]:
            self._on_push(message)
        elif self._pending:
            self._pending.popleft()(message)
        elif isinstance(message, hiredis.ReplyError):  # such as of one with too many clients
            self.abort(f"the store refused: {refusal(message)}")
        else:
            self.abort(f"the store sent an unrequested message: {str(message)[:100]}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept commands from now on."""
        self._transport = cast("asyncio.Transport", transport)
        self._open = True

    def data_received(self, data: bytes) -> None:
        """Parse `data` and deliver each reply and push at once.

        Bytes that are not RESP3 end the link.
        """
        self._reader.feed(data)
        while self._open and (message := self._parse()) is not _INCOMPLETE:
            self._deliver(message)

    def pause_writing(self) -> None:
        """Refuse commands while the store does not read, so that they do not pile up."""
        self._congested = True

    def resume_writing(self) -> None:
        """Accept commands again."""
        self._congested = False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the link. Each pending command gets LinkLost."""
        self._end("the connection was closed")


def _resolve(answer: asyncio.Future[Any], reply: Any) -> None:
    if answer.done():  # the waiting task was cancelled
        return
    if isinstance(reply, hiredis.ReplyError):
        answer.set_exception(Unavailable(f"the store refused: {refusal(reply)}"))
    elif isinstance(reply, Exception):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)


def expect(kind: type[_Kind], reply: Any) -> _Kind:
    """Return the reply if it is of type `kind`.

    Raises Unavailable if it is an exception (with its text) or of another type.
    """
    if isinstance(reply, kind):
        return reply
    if isinstance(reply, Exception):
        raise Unavailable(f"the store refused: {refusal(reply)}")
    raise Unavailable(f"unexpected answer: {str(reply)[:100]}")
