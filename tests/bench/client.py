"""A small HTTP/1.1 client for measuring: one kept connection, one request at a time."""

import asyncio


class Client:
    """GETs over one connection. `get` returns the status."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, host: str, port: int) -> "Client":
        return cls(*await asyncio.open_connection(host, port))

    async def get(self, path: str, key: str) -> int:
        self._writer.write(
            f"GET {path} HTTP/1.1\r\nhost: bench\r\nx-api-key: {key}\r\n\r\n".encode()
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines[1:])}
        await self._reader.readexactly(int(headers.get("content-length", "0")))
        return int(lines[0].split(" ")[1])

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()
