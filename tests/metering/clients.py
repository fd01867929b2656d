"""Clients that make requests of every shape, and note how each must be counted."""

import random
from collections import Counter
from dataclasses import dataclass

import grpc
import grpc.aio

from authz.core.usage.outcome import Outcome
from tests.support.proxy.request_shapes import CALLS, request

OK, CLIENT, SERVER, DENIED, ABORTED = Outcome
END = b"0\r\n\r\n"
UPGRADE = ("connection: upgrade", "upgrade: websocket")


@dataclass(frozen=True)
class Shape:
    """A kind of HTTP/1.1 request. until: the client closes after this text of the response."""

    path: str
    until: bytes
    outcome: Outcome
    status: bytes = b"200"
    headers: tuple[str, ...] = ()


SHAPES = (
    Shape("/", END, OK),
    Shape("/sse", END, OK),
    Shape("/endless", b"one", ABORTED),
    Shape("/cut", END, SERVER),
    Shape("/gone", END, SERVER, b"503"),
    Shape("/missing", END, CLIENT, b"404"),
    Shape("/ws", b"welcome", OK, b"101", UPGRADE),
)
CALLED = {
    "Ok": (OK, grpc.StatusCode.OK),
    "Full": (CLIENT, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "Stream": (ABORTED, None),
}
NOBODY = ""


class Clients:
    """Make requests through Envoy. keys: text by kid. answered: by kid and outcome.

    A key in `revoked` is refused. Without a key the kid is "".
    """

    def __init__(self, port: int, keys: dict[str, str], revoked: set[str], seed: int) -> None:
        self.port = port
        self.keys = keys
        self.revoked = revoked
        self.answered: Counter[tuple[str, str]] = Counter()
        self._rnd = random.Random(seed)

    async def run(self, is_over) -> None:
        """Make requests one after the other until `is_over`. Raises AssertionError."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            while not is_over():
                kid = self._rnd.choice([*self.keys, NOBODY])
                if kid in self.revoked or kid == NOBODY:
                    await self._refused(kid)
                elif self._rnd.random() < 0.3:
                    await self._call(channel, kid, self._rnd.choice(list(CALLED)))
                else:
                    await self._request(kid, self._rnd.choice(SHAPES))

    async def _request(self, kid: str, shape: Shape) -> None:
        headers = [f"x-api-key: {self.keys[kid]}", "user-agent: test/1 x", *shape.headers]
        found = await request(self.port, shape.path, headers, until=shape.until)
        status = found.split(b" ", 2)[1:2]
        assert status == [shape.status], (shape, found)
        self.answered[kid, shape.outcome.name] += 1

    async def _refused(self, kid: str) -> None:
        headers = [f"x-api-key: {self.keys[kid]}"] if kid else ["user-agent: nobody"]
        found = await request(self.port, "/", headers, until=b"\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 401"), found
        self.answered[kid, DENIED.name] += 1

    async def _call(self, channel: grpc.aio.Channel, kid: str, name: str) -> None:
        metadata = [("x-api-key", self.keys[kid])]
        outcome, code = CALLED[name]
        if code is None:
            stream = channel.unary_stream(f"{CALLS}{name}")(b"x", metadata=metadata)
            await stream.read()
            stream.cancel()
        else:
            call = channel.unary_unary(f"{CALLS}{name}")(b"x", metadata=metadata, timeout=60)
            assert await call.code() is code
        self.answered[kid, outcome.name] += 1
