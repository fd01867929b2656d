"""StoredKeys: initialising a store, and its errors."""

import asyncio

import pytest

from authz.core.errors import OutcomeUnknown, Unavailable, Unreadable
from authz.storage import schema
from authz.storage.endpoint import Endpoint
from authz.storage.keys import StoredKeys
from tests.support.fakes import KID, make_keyring, make_pepper
from tests.support.real import free_port
from tests.support.storage import stored
from tests.support.storage.changing import issued
from tests.support.storage.scripted import HELLO, scripted_store

OURS = make_keyring().fingerprints
OTHERS = {"1": make_pepper("1", b"another pepper of 32 bytes or so").fingerprint}


async def test_set_up(valkey):
    """A new store is initialised once; doing it again changes nothing."""
    async with valkey.endpoint.client() as client:
        store = StoredKeys(client)
        assert await store.peppers() == {}
        with pytest.raises(Unavailable, match="authz init"):
            await store.verify(OURS)

        assert await store.initialise(OURS)
        assert not await store.initialise(OURS)

        await store.verify(OURS)
        assert await store.peppers() == OURS


async def test_new_pepper(valkey):
    """A store that is ours gets a further pepper, and sidecars without it keep working."""
    both = make_keyring("ak", "1", "2").fingerprints
    async with valkey.endpoint.client() as client:
        store = StoredKeys(client)
        await store.initialise(OURS)
        assert await store.initialise(both)
        assert await store.peppers() == both
        await store.verify(OURS)
        assert not await store.initialise(OURS)
        assert await store.peppers() == both


@pytest.mark.parametrize(
    "theirs", [OTHERS, OURS | {"2": "0" * 32}, make_keyring("ak", "3").fingerprints]
)
async def test_other_peppers(valkey, theirs):
    """A store with other peppers is foreign and is not changed."""
    ours = make_keyring("ak", "1", "2").fingerprints
    async with valkey.endpoint.client() as client:
        store = StoredKeys(client)
        await store.initialise(theirs)
        with pytest.raises(Unavailable, match="pepper"):
            await store.verify(ours)
        with pytest.raises(Unavailable, match="pepper"):
            await store.initialise(ours)
        assert await store.peppers() == theirs


@pytest.mark.parametrize("number", ["2", "", "one"])
async def test_other_schema(valkey, number):
    """A store of another schema is foreign and is not changed."""
    valkey.admin.hset(stored.META, schema.META_SCHEMA, number)
    async with valkey.endpoint.client() as client:
        with pytest.raises(Unavailable, match="schema"):
            await StoredKeys(client).initialise(OURS)
    assert valkey.admin.hgetall(stored.META) == {schema.META_SCHEMA: number}


async def test_two_set_up_at_the_same_moment(valkey):
    """Of two concurrent initialisations with different peppers one succeeds, one is refused."""
    async with valkey.endpoint.client() as client:
        store = StoredKeys(client)
        for _ in range(20):
            valkey.admin.flushall()
            found = await asyncio.gather(
                store.initialise(OURS), store.initialise(OTHERS), return_exceptions=True
            )
            assert found.count(True) == 1
            assert sum(isinstance(outcome, Unavailable) for outcome in found) == 1
            assert await store.peppers() == [OURS, OTHERS][found.index(True)]


@pytest.mark.parametrize("garbage", [b"\xff\xfe", b"", b"\x00"])
async def test_garbled_record(valkey, admin, garbage):
    """A garbled record is Unreadable, and the error names its kid."""
    await admin.store.apply(issued())
    valkey.admin.hset(stored.key(KID), "status", garbage)
    with pytest.raises(Unreadable, match=KID):
        await admin.store.find(KID)


async def test_record_of_another_type(valkey, admin):
    """A record of another Redis type is Unavailable, with the remedy."""
    valkey.admin.rpush(stored.key(KID), "text")
    with pytest.raises(Unavailable, match="another type than ours"):
        await admin.store.find(KID)


async def test_store_that_is_down():
    """An unreachable store is Unavailable, and the change was certainly not made."""
    endpoint = Endpoint.parse(f"redis://127.0.0.1:{free_port()}")
    async with endpoint.client() as client:
        store = StoredKeys(client)
        for call in (store.find(KID), store.verify(OURS), store.initialise(OURS), store.peppers()):
            with pytest.raises(Unavailable):
                await call
        with pytest.raises(Unavailable) as fault:
            await store.apply(issued())
    assert not isinstance(fault.value, OutcomeUnknown)


async def test_answer_that_was_lost():
    """A change whose reply was lost raises OutcomeUnknown."""

    async def script(peer):
        while (await peer.command())[0] == "HELLO":
            await peer.say(HELLO)
            while (command := await peer.command())[0] != "EVALSHA":
                replies = {"GET": b"_\r\n", "HGETALL": b"%0\r\n"}
                await peer.say(replies.get(command[0], b"+OK\r\n"))
            return

    async with scripted_store(script) as endpoint, endpoint.client() as client:
        with pytest.raises(OutcomeUnknown, match="did not confirm"):
            await StoredKeys(client).apply(issued())


async def test_a_store_too_old_for_hello_does_not_reveal_the_password(tmp_path):
    """An old store quotes an unknown command; that text is not passed on."""
    file = tmp_path / "password"
    file.write_text("hunter2")

    async def script(peer):
        while True:
            name, *arguments = await peer.command()
            quoted = ", ".join(f"`{word}`" for word in arguments)
            await peer.say(
                f"-ERR unknown command `{name}`, with args beginning with: {quoted}, \r\n".encode()
            )

    async with scripted_store(script) as address:
        endpoint = Endpoint.parse(str(address), "app", file)
        async with endpoint.client() as client:
            with pytest.raises(Unavailable, match="unknown command") as refusal:
                await StoredKeys(client).find(KID)
    assert "hunter2" not in str(refusal.value)
