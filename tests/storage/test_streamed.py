"""Commands that are sent as they are made."""

import pytest
from redis import exceptions

from authz.storage.streamed import streamed
from tests.support.real import Valkey


async def test_replies_come_in_order_with_errors_among_them(valkey: Valkey) -> None:
    """Each command has its reply, an error too, and the connection works afterwards."""
    async with valkey.endpoint.client() as client:
        commands = (["INCR", "a"], ["LPUSH", "a", "x"], ["INCR", "a"])
        first, second, third = await streamed(client, commands)
        assert (first, third) == (1, 2)
        assert isinstance(second, exceptions.ResponseError)
        assert await streamed(client, ()) == []
        assert await client.get("a") == "2"


async def test_a_command_that_cannot_be_made(valkey: Valkey) -> None:
    """The error is passed on. An unread reply is not that of a later command."""

    def commands():
        yield ["SET", "a", "1"]
        raise ValueError("x")

    async with valkey.endpoint.client() as client:
        with pytest.raises(ValueError, match="x"):
            await streamed(client, commands())
        assert await client.get("b") is None


async def test_a_store_that_ends(valkey: Valkey) -> None:
    """A connection that ends between two commands is an error of redis-py."""

    def commands():
        yield ["SET", "a", "1"]
        valkey.admin.client_kill_filter(_type="normal", skipme=True)
        yield ["SET", "a", "2"]

    async with valkey.endpoint.client() as client:
        with pytest.raises(exceptions.ConnectionError):
            await streamed(client, commands())
        assert await client.get("b") is None


async def test_a_store_that_does_not_reply(own_valkey: Valkey) -> None:
    """The timeout of the client holds, also after some replies."""
    async with own_valkey.endpoint.client(timeout=0.3) as client:

        def commands():
            yield "SET", "a", "1"
            yield "BLPOP", "empty", "0"

        with pytest.raises((exceptions.TimeoutError, TimeoutError)):
            await streamed(client, commands())
        assert await client.get("a") == "1"


async def test_bytes_that_are_no_text(own_valkey: Valkey) -> None:
    """A surrogate is sent as the byte that it stands for."""
    async with own_valkey.endpoint.client() as client:
        assert await streamed(client, [("SET", "a", "é\udcff")]) == ["OK"]
        assert await client.get("a") == "é\udcff"
    assert own_valkey.admin.execute_command("STRLEN", "a") == 3
