"""A TCP proxy that can lose or hold traffic, so that a live peer seems dead."""

import asyncio
import contextlib
import enum
import re
from collections.abc import Callable
from typing import Self

from tests.support.listener import listening

_NAME = re.compile(rb"SETNAME\r\n\$\d+\r\n([^\r]+)")


class Verdict(enum.Enum):
    """The fate of bytes on their way."""

    PASS = enum.auto()
    LOSE = enum.auto()  # nobody is told; the connection never recovers from it
    HOLD = enum.auto()  # they wait, and so does the sender when its buffers are full


PASS, LOSE, HOLD = Verdict

Rule = Callable[[str], tuple[Verdict, Verdict]]


def open_to_all(_name: str) -> tuple[Verdict, Verdict]:
    """Let everything pass."""
    return PASS, PASS


def closed_to_all_but(kept: str) -> Rule:
    """Return a rule that lets only connections of one HELLO name pass."""
    return lambda name: (PASS, PASS) if name == kept else (LOSE, LOSE)


class Gate:
    """async with Gate(port) as gate: ...    connect to `gate.port`; `gate.set(rule)` at any time.

    A rule says for the name of a connection what happens towards the server, and back. A connection
    without a name has that of its address, if it comes from another one than 127.0.0.1.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.port = port
        self._target = target
        self._rule: Rule = open_to_all
        self._changed = asyncio.Event()
        self._listening = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.port = await self._listening.enter_async_context(listening(self._serve, self.port))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._listening.aclose()

    def set(self, rule: Rule) -> None:
        """Apply this rule from now on."""
        self._rule = rule
        self._changed.set()
        self._changed = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            host, *_ = writer.get_extra_info("peername")
            connection = _Connection(self, "" if host == "127.0.0.1" else host)
            pumps = [
                asyncio.create_task(connection.pump(reader, back, 0)),
                asyncio.create_task(connection.pump(there, writer, 1)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                back.transport.abort()  # first, for what follows may be cancelled
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)

    async def verdict(self, name: str, direction: int) -> Verdict:
        """Return the fate of bytes that are here now. Waits while they are held."""
        while (found := self._rule(name)[direction]) is HOLD:
            await self._changed.wait()
        return found


class _Connection:
    def __init__(self, gate: Gate, name: str) -> None:
        self._gate = gate
        self._name = name
        self._lost = [False, False]

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: int
    ) -> None:
        while data := await reader.read(65536):
            if direction == 0 and (named := _NAME.search(data)):
                self._name = named[1].decode()
            verdict = await self._gate.verdict(self._name, direction)
            self._lost[direction] |= verdict is LOSE
            if not self._lost[direction]:
                writer.write(data)
                await writer.drain()
