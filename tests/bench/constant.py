"""A Check port with one constant answer: a measure of the transport alone.

python -m tests.bench.constant fast|grpcio ANSWER-FILE
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from authz.core.listen_address import Address
from authz.telemetry import Counters
from tests.support.rpc.servers import make_server


class Door:
    """Implement CheckHandler."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def check(self, _raw: bytes, _traceparent: bytes | None = None) -> bytes:
        """Implement CheckHandler.check."""
        return self._answer


async def main() -> None:
    """Print the address, and serve until stdin ends."""
    transport, file = sys.argv[1:]
    settings = {"probe": Counters()} if transport == "fast" else {}
    door = Door(Path(file).read_bytes())
    server = make_server(transport, door, Address("127.0.0.1", 0), **settings)
    await server.start()
    print(server.address, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
