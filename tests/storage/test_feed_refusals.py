"""ChangeFeed: stores that it must not trust, and the reasons that it reports."""

import pytest

from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.keys.keyring import Keyring
from authz.storage import schema
from tests.support.fakes import KID, make_keyring, make_pepper
from tests.support.real import Valkey, eventually
from tests.support.storage import stored
from tests.support.storage.sidecar import Sidecar, administration
from tests.support.storage.users import restrict


async def test_emptied_store(valkey, admin):
    """An emptied store loses trust, and the reason names the remedy."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        valkey.admin.flushall()
        await eventually(lambda: "data is gone: it was at change 1; restore it" in sidecar.reason)
        with pytest.raises(Unavailable):
            await sidecar.cache.find(record.kid)


def other_keyring():
    """Return a keyring with another pepper of the same version."""
    return Keyring("ak", [make_pepper("1", b"another pepper of 32 bytes or so")])


async def test_other_pepper(valkey, admin):
    """A store with another pepper is not trusted, and a wrong tag then proves nothing."""
    async with Sidecar(valkey.endpoint, keyring=other_keyring()) as sidecar:
        await eventually(lambda: "pepper 1 is not the one" in sidecar.reason)
        assert not sidecar.is_trusted
        assert not sidecar.feed.meta.refutes("1")
        assert not sidecar.feed.meta.refutes("2")


async def test_other_schema(valkey, admin):
    """A store of a newer schema is not trusted."""
    valkey.admin.hset(stored.META, schema.META_SCHEMA, "2")
    async with Sidecar(valkey.endpoint) as sidecar:
        await eventually(lambda: "schema" in sidecar.reason)
        assert not sidecar.is_trusted
        assert not sidecar.feed.meta.refutes("1")


async def test_store_that_was_not_set_up(valkey):
    """A store without authz:meta is not trusted until it is initialised."""
    async with Sidecar(valkey.endpoint) as sidecar:
        await eventually(lambda: "authz init" in sidecar.reason)
        async with administration(valkey.endpoint):
            await sidecar.trusted()


async def test_refutes(valkey):
    """A wrong tag proves a forgery only under a pepper that the store has too."""
    async with administration(valkey.endpoint, make_keyring("ak", "1", "2")):
        async with Sidecar(valkey.endpoint, keyring=make_keyring("ak", "1", "3")) as sidecar:
            assert not sidecar.feed.meta.refutes("1")
            await sidecar.trusted()
            assert sidecar.feed.meta.refutes("1")
            assert not sidecar.feed.meta.refutes("2")  # theirs, not ours: we cannot tell
            assert sidecar.feed.meta.refutes("3")  # ours, not theirs: no key has it
            assert sidecar.feed.meta.refutes("x")

        assert sidecar.feed.meta.refutes("1")  # also while the store cannot be reached
        assert not sidecar.feed.meta.refutes("x")  # it may have got a pepper meanwhile


async def test_refutes_no_more_when_the_store_was_replaced(valkey, admin):
    """When the store gets other peppers, a wrong tag under ours proves nothing any more."""
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        assert sidecar.feed.meta.refutes("1")
        valkey.admin.flushall()
        async with administration(valkey.endpoint, other_keyring()):
            await eventually(lambda: sidecar.feed.is_foreign)
            assert not sidecar.feed.meta.refutes("1")


# permissions


async def test_permissions(valkey, admin):
    """These permissions are sufficient, and no other is requested."""
    record = await admin.issue()
    async with Sidecar(restrict(valkey)) as sidecar:
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record
        assert await sidecar.find(KID) is None
    assert valkey.admin.acl_log() == []


@pytest.mark.parametrize("missing", ["subscribe", "ping", "role", "get", "hgetall"])
async def test_missing_permission(valkey, admin, missing):
    """Without one of the permissions the store is not trusted, and the reason names it."""
    async with Sidecar(restrict(valkey, without=missing)) as sidecar:
        await eventually(lambda: "NOPERM" in sidecar.reason and missing in sidecar.reason)
        assert not sidecar.is_trusted


async def test_missing_permission_for_the_channel(valkey, admin):
    """Without the right to the channel the store is not trusted, and the reason says so."""
    async with Sidecar(restrict(valkey, channel=False)) as sidecar:
        await eventually(lambda: "NOPERM" in sidecar.reason and "channel" in sidecar.reason)
        assert not sidecar.is_trusted


async def test_wrong_password(valkey, admin):
    """A wrong password is the reason. Once it is corrected, the store is trusted."""
    restrict(valkey)
    endpoint = valkey.login("sidecar", "wrong")
    async with Sidecar(endpoint) as sidecar:
        await eventually(lambda: "WRONGPASS" in sidecar.reason)
        endpoint.password_file.write_bytes(b"\xff")
        await eventually(lambda: "not a text file" in sidecar.reason)
        endpoint.password_file.write_text("secret")
        await sidecar.trusted()


async def test_rotated_password(valkey, admin):
    """A password change does not affect the open link. The next one uses the new file."""
    endpoint = restrict(valkey)
    async with Sidecar(endpoint, lease=5) as sidecar:
        await sidecar.trusted()
        valkey.admin.execute_command("ACL", "SETUSER", "sidecar", "resetpass", ">next")
        await sidecar.caught_up((await admin.issue()).version)
        assert sidecar.probe.events[Event.LINK_LOST] == 0

        valkey.admin.client_kill_filter(_type="pubsub")
        await eventually(lambda: "WRONGPASS" in sidecar.reason)
        endpoint.password_file.write_text("next\n")
        await sidecar.trusted()


# replicas


async def test_replica(own_valkey, own_admin):
    """A replica is never trusted."""
    with Valkey("--replicaof", "127.0.0.1", str(own_valkey.port)) as replica:
        async with Sidecar(replica.endpoint) as sidecar:
            await eventually(lambda: "only the primary can be trusted" in sidecar.reason)
            assert not sidecar.is_trusted


async def test_primary_that_becomes_a_replica(valkey, own_valkey, own_admin):
    """A primary that becomes a replica while linked loses trust."""
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        own_valkey.admin.replicaof("127.0.0.1", valkey.port)
        await eventually(lambda: "only the primary can be trusted" in sidecar.reason)
        assert not sidecar.is_trusted

        own_valkey.admin.replicaof("NO", "ONE")
        async with administration(own_valkey.endpoint):
            await sidecar.trusted()
