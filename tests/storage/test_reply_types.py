"""A client raises an error of redis-py for a reply of another type than ours."""

import contextlib

import pytest
from redis.exceptions import ResponseError

from authz.storage.endpoint import Endpoint
from tests.support.storage.imitations import HELLO, imitation


def queued(words):
    """Answer as a server whose transactions and commands return lists of texts."""
    match words[0]:
        case b"HELLO":
            return HELLO
        case b"CLIENT" | b"SELECT" | b"MULTI":
            return b"+OK\r\n"
        case b"EXEC":
            return b"*2\r\n+one\r\n+two\r\n"
        case _:
            return b"+QUEUED\r\n"


@contextlib.asynccontextmanager
async def client_of(answer):
    """A client of an imitated server."""
    with imitation(answer) as url:
        client = Endpoint.parse(url).client()
        try:
            yield client
        finally:
            await client.aclose()


async def test_a_command():
    """The error names the command, and the connection stays usable."""
    async with client_of(queued) as client:
        for _ in range(3):
            with pytest.raises(ResponseError, match="reply to HGETALL is none of Redis or Valkey"):
                await client.hgetall("a")
            assert await client.get("a") == "QUEUED"


async def test_pipelines_and_transactions():
    """Each reply of several is looked at; none is taken for that of another command."""
    async with client_of(queued) as client:
        for is_transaction, good in ((False, "QUEUED"), (True, "one")):
            pipeline = client.pipeline(transaction=is_transaction)
            pipeline.get("a")
            pipeline.hgetall("a")
            with pytest.raises(ResponseError, match="HGETALL"):
                await pipeline.execute()
            pipeline.get("a")
            pipeline.get("b")
            assert (await pipeline.execute())[0] == good
