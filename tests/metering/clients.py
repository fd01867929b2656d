"""Clients that make requests of every shape, and note how each must be counted."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import grpc
import grpc.aio
from hpack import Decoder
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame

from authz.core.listen_address import Address
from authz.core.usage.outcome import Outcome
from tests.support.h2.wire import wired
from tests.support.proxy.request_shapes import CALLS, request

OK, CLIENT, SERVER, DENIED, ABORTED = Outcome
END = b"0\r\n\r\n"
UPGRADE = ("connection: upgrade", "upgrade: websocket")
CANCEL = 8  # RFC 9113 7
# Channels share connections by default. Envoy ends one on which 33 streams a second are reset.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


@dataclass(frozen=True)
class Shape:
    """A kind of request. until: an HTTP/1.1 client closes after this text of the response.

    With HTTP/2 the stream is reset after the first data if it is to be aborted.
    """

    path: str
    until: bytes
    outcome: Outcome
    status: bytes = b"200"
    headers: tuple[str, ...] = ()


SHAPES = {
    "HTTP/1": Shape("/", END, OK),
    "SSE": Shape("/sse", END, OK),
    "SSE aborted": Shape("/endless", b"one", ABORTED),
    "backend resets in the body": Shape("/cut", END, SERVER),
    "backend resets": Shape("/gone", END, SERVER, b"503"),
    "404": Shape("/missing", END, CLIENT, b"404"),
    "WebSocket": Shape("/ws", b"welcome", OK, b"101", UPGRADE),
}
HTTP2 = {
    "HTTP/2": Shape("/", b"", OK),
    "HTTP/2 reset": Shape("/endless", b"", ABORTED),
    "HTTP/2, backend resets": Shape("/gone", b"", SERVER, b"503"),
}
CALLED = {
    "gRPC": ("Ok", OK, grpc.StatusCode.OK),
    "gRPC refused": ("Full", CLIENT, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "gRPC stream cancelled": ("Stream", ABORTED, None),
}
REFUSED, NO_KEY = "revoked key", "no key"
NOBODY = ""


class Clients:
    """Make requests through Envoy. keys: text by kid. answered: by kid and outcome.

    A key in `revoked` is refused. Without a key the kid is "". made: answered requests by shape.
    may_break: whether a request may end without an answer; broken: how many did.
    """

    def __init__(self, port: int, keys: dict[str, str], revoked: set[str], seed: int) -> None:
        self.port = port
        self.keys = keys
        self.revoked = revoked
        self.answered: Counter[tuple[str, str]] = Counter()
        self.made: Counter[str] = Counter()
        self.may_break = False
        self.broken = 0
        self._rnd = random.Random(seed)
        self._open = asyncio.Event()
        self._open.set()
        self._running = 0

    async def run(self, is_over) -> None:
        """Make requests one after the other until `is_over`. Raises AssertionError."""
        target = f"127.0.0.1:{self.port}"
        async with grpc.aio.insecure_channel(target, options=OWN_CONNECTION) as channel:
            while not is_over():
                await self._open.wait()
                self._running += 1
                try:
                    await self._one(channel)
                except (AssertionError, OSError, EOFError, grpc.RpcError):
                    if not self.may_break:
                        raise
                    self.broken += 1
                    await asyncio.sleep(0.1)
                finally:
                    self._running -= 1

    async def pause(self) -> None:
        """Begin no request, and wait until none runs."""
        self._open.clear()
        while self._running:
            await asyncio.sleep(0.01)

    def resume(self) -> None:
        """Begin requests again."""
        self._open.set()

    async def _one(self, channel: grpc.aio.Channel) -> None:
        kid, kind = self._rnd.choice([*self.keys, NOBODY]), self._rnd.random()
        if kid in self.revoked or kid == NOBODY:
            await self._refused(kid)
        elif kind < 0.25:
            await self._call(channel, kid, self._rnd.choice(list(CALLED)))
        elif kind < 0.5:
            await self._http2(kid, self._rnd.choice(list(HTTP2)))
        else:
            await self._request(kid, self._rnd.choice(list(SHAPES)))

    def _note(self, kid: str, name: str, outcome: Outcome) -> None:
        self.answered[kid, outcome.name] += 1
        self.made[name] += 1

    async def _request(self, kid: str, name: str) -> None:
        shape = SHAPES[name]
        headers = [f"x-api-key: {self.keys[kid]}", "user-agent: test/1 x", *shape.headers]
        found = await request(self.port, shape.path, headers, until=shape.until)
        status = found.split(b" ", 2)[1:2]
        assert status == [shape.status], (shape, found)
        self._note(kid, name, shape.outcome)

    async def _http2(self, kid: str, name: str) -> None:
        shape = HTTP2[name]
        fields = [
            *((":method", "GET"), (":scheme", "http"), (":path", shape.path)),
            *((":authority", "api.example.com"), ("x-api-key", self.keys[kid])),
        ]
        async with wired(Address("127.0.0.1", self.port)) as wire:
            wire.greet()
            wire.get(1, fields)
            head = await wire.until(HeadersFrame, 1)
            status = dict(Decoder().decode(head.data, raw=True))[b":status"]
            assert status == shape.status, (shape, status)
            if shape.outcome is ABORTED:
                await wire.until(DataFrame, 1)
                wire.send(RstStreamFrame(1, CANCEL))
                await wire.settled()
            else:
                while "END_STREAM" not in head.flags:
                    head = await wire.until(DataFrame, 1)
        self._note(kid, name, shape.outcome)

    async def _refused(self, kid: str) -> None:
        headers = [f"x-api-key: {self.keys[kid]}"] if kid else ["user-agent: nobody"]
        found = await request(self.port, "/", headers, until=b"\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 401"), found
        self._note(kid, REFUSED if kid else NO_KEY, DENIED)

    async def _call(self, channel: grpc.aio.Channel, kid: str, name: str) -> None:
        metadata = [("x-api-key", self.keys[kid])]
        method, outcome, code = CALLED[name]
        options = {"metadata": metadata, "wait_for_ready": True}
        if code is None:
            stream = channel.unary_stream(f"{CALLS}{method}")(b"x", **options)
            await stream.read()
            stream.cancel()
        else:
            call = channel.unary_unary(f"{CALLS}{method}")(b"x", timeout=60, **options)
            found = await call.code()
            assert found is code, (found, await call.details())
        self._note(kid, name, outcome)
