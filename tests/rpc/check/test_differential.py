"""Both transports give the same answers to the same calls: ten thousand, made up by hypothesis."""

import asyncio
import hashlib
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack
from typing import NamedTuple

import grpc
import grpc.aio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.rpc.services import CHECK_SERVICE
from tests.support.rpc.servers import SECONDS, TRANSPORTS, channel, serving

EXAMPLES, CALLS = 1000, 10


class Door:
    """Answers with a digest of the question: by the last bit at once, or after a while."""

    def check(self, raw: bytes, _traceparent: bytes | None = None) -> bytes | Awaitable[bytes]:
        """Implement CheckHandler.check."""
        answer = hashlib.sha256(raw).digest()[: len(raw) % 33]
        return self._later(answer) if raw[-1:] > b"\x7f" else answer

    async def _later(self, answer: bytes) -> bytes:
        await asyncio.sleep(0)
        return answer


class Case(NamedTuple):
    """One call of a gRPC client."""

    method: str
    message: bytes
    metadata: tuple[tuple[str, str | bytes], ...]
    timeout: float | None


texts = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
names = st.from_regex(r"x-[a-z0-9_.-]{1,10}", fullmatch=True).filter(
    lambda n: not n.endswith("-bin")
)
metadata = st.lists(
    st.tuples(names | st.sampled_from(["traceparent", "tracestate", "x-request-id"]), texts)
    | st.tuples(st.just("x-more-bin"), st.binary(max_size=20)),
    max_size=3,
)
messages = st.one_of(
    st.binary(max_size=64),
    st.builds(bytes.__mul__, st.binary(min_size=1, max_size=3), st.integers(100, 40_000)),
)
methods = st.sampled_from(
    [f"/{CHECK_SERVICE}/Check"] * 6
    + [f"/{CHECK_SERVICE}/Nope", "/a.B/C", "/grpc.health.v1.Health/X"]
)
asks = st.builds(
    Case, methods, messages, metadata.map(tuple), st.sampled_from([None, 0.9 * SECONDS, SECONDS])
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """A loop that both servers and their clients live on."""
    with asyncio.Runner() as found:
        yield found


@pytest.fixture(scope="module")
def clients(runner) -> Iterator[list[grpc.aio.Channel]]:
    """A connection to each transport, over doors that answer alike."""
    stack = AsyncExitStack()

    async def begin() -> list[grpc.aio.Channel]:
        found = []
        for transport in TRANSPORTS:
            server = await stack.enter_async_context(serving(transport, Door()))
            found.append(await stack.enter_async_context(channel(server.address)))
        return found

    yield runner.run(begin())
    runner.run(stack.aclose())


async def answers(client: grpc.aio.Channel, asked: list[Case]) -> list[tuple[str, bytes]]:
    """Return the result of each call, all of them made at a time."""

    async def answer(ask: Case) -> tuple[str, bytes]:
        call = client.unary_unary(ask.method)
        try:
            message = await call(ask.message, metadata=ask.metadata, timeout=ask.timeout)
        except grpc.aio.AioRpcError as refused:
            return refused.code().name, b""
        return "OK", message

    return await asyncio.gather(*map(answer, asked))


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
@given(asked=st.lists(asks, min_size=CALLS, max_size=CALLS))
def test_the_same_calls_get_the_same_answers(runner, clients, asked):
    """Status and message, whichever transport carries them."""
    fast, reference = (runner.run(answers(client, asked)) for client in clients)
    assert fast == reference
