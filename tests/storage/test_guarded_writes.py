"""GuardedWrites on a real store: transactions under a condition, in one round trip each."""

import pytest
from redis import exceptions

from authz.storage.guarded_writes import GuardedWrites


def guarded(client):
    """Return writes that are allowed while `owner` is `me`."""
    return GuardedWrites(client, ["owner"], [("GET", "owner")], lambda found: found == ["me"])


@pytest.fixture
async def client(own_valkey):
    """A client of a store in which `owner` is `me`."""
    own_valkey.admin.set("owner", "me")
    async with own_valkey.endpoint.client() as client:
        yield client


async def test_allowed(client, own_valkey):
    """All commands of a transaction are applied, in order; also of several transactions."""
    async with guarded(client) as writes:
        for number in range(3):
            assert await writes.apply([("RPUSH", "a", number), ("RPUSH", "a", "\udcffé")])
    assert own_valkey.admin.llen("a") == 6


async def test_not_allowed(client, own_valkey):
    """Nothing is written if the answers do not allow it, at the first transaction or later."""
    own_valkey.admin.set("owner", "another")
    async with guarded(client) as writes:
        assert not await writes.apply([("SET", "a", 1)])
    own_valkey.admin.set("owner", "me")
    async with guarded(client) as writes:
        assert await writes.apply([("SET", "a", 1)])
        own_valkey.admin.flushall()
        assert not await writes.apply([("SET", "a", 2)])
    assert own_valkey.admin.keys("*") == []


async def test_a_watched_name_that_was_written_again(client, own_valkey):
    """The questions are asked again. If they still allow it, the transaction is made, once."""
    async with guarded(client) as writes:
        assert await writes.apply([("INCR", "a")])
        own_valkey.admin.set("owner", "me")
        assert await writes.apply([("INCR", "a")])
    assert own_valkey.admin.get("a") == "2"


@pytest.mark.parametrize(
    ("command", "left"), [(("NOSUCH", "a"), None), (("LPUSH", "text", "x"), "1")]
)
async def test_a_refused_command(client, own_valkey, command, left):
    """Its error is raised, and the connection works for the next transaction.

    A command that the store does not know stops the others; one that fails does not.
    """
    own_valkey.admin.set("text", "x")
    async with guarded(client) as writes:
        with pytest.raises(exceptions.ResponseError):
            await writes.apply([("SET", "a", 1), command])
        assert own_valkey.admin.get("a") == left
        assert await writes.apply([("SET", "a", 2)])
    assert own_valkey.admin.get("a") == "2"


async def test_a_store_that_ends(client, own_valkey):
    """The error of redis-py is raised, again at each later transaction."""
    async with guarded(client) as writes:
        assert await writes.apply([("SET", "a", 1)])
        own_valkey.kill()
        for _ in range(2):
            with pytest.raises((exceptions.RedisError, OSError)):
                await writes.apply([("SET", "a", 2)])


async def test_a_lost_connection(client, own_valkey):
    """On a new connection nothing is watched, so the questions are asked again."""
    async with guarded(client) as writes:
        assert await writes.apply([("SET", "a", 1)])
        own_valkey.admin.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises((exceptions.RedisError, OSError)):
            await writes.apply([("SET", "a", 2)])
        own_valkey.admin.flushall()
        assert not await writes.apply([("SET", "a", 3)])
    assert own_valkey.admin.keys("*") == []
