"""A scripted store that can answer in ways that no real server does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import hiredis

from authz.storage.endpoint import Endpoint
from tests.support.listener import listening

HELLO = b"%2\r\n+proto\r\n:3\r\n+role\r\n+master\r\n"


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader(encoding="utf-8", errors="surrogateescape", notEnoughData=...)

    async def command(self) -> list[str]:
        """Return the next command. Raises ConnectionError when the client has closed."""
        while (command := self._parser.gets()) is ...:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError
            self._parser.feed(data)
        return command

    async def commands(self, count: int) -> None:
        """Wait for `count` commands."""
        for _ in range(count):
            await self.command()

    async def say(self, data: bytes) -> None:
        """Send these bytes."""
        self._writer.write(data)
        await self._writer.drain()


Script = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted_store(script: Script) -> AsyncIterator[Endpoint]:
    """Run a loopback server that plays `script` on each connection and then closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(Peer(reader, writer))
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with listening(serve) as port:
        yield Endpoint.parse(f"redis://127.0.0.1:{port}")
