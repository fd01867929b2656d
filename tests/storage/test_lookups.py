"""LinkedKeys: it returns a record, its absence, or Unavailable, and never another key's record."""

import pytest

from authz.core import new_keys
from authz.core.changes import Author
from authz.core.errors import Unavailable, Unreadable
from authz.core.events import Event
from authz.core.new_keys import KeySpec
from tests.support.fakes import KID, NOW, make_keyring
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.sidecar import Sidecar


async def test_no_key_of_that_kid(valkey, admin):
    """An absent kid is None after one lookup; once it is issued, it is found."""
    spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
    issue = new_keys.issue(spec, make_keyring().mint("live", KID), Author("c1", "test"), NOW)
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        assert await sidecar.find(KID) is None
        assert await sidecar.find(KID) is None
        assert sidecar.probe.events[Event.CACHE_MISS] == 1

        await admin.store.apply(issue)
        await sidecar.caught_up(1)
        assert (await sidecar.find(KID)).kid == KID


async def test_garbled_record(valkey, admin):
    """A garbled record is Unreadable and counted; other keys are not affected."""
    garbled, good = await admin.issue(), await admin.issue()
    valkey.admin.hset(stored.key(garbled.kid), "name", b"\xff\xfe")
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        with pytest.raises(Unreadable, match=garbled.kid):
            await sidecar.find(garbled.kid)
        assert sidecar.probe.events[Event.RECORD_UNREADABLE] == 1
        assert await sidecar.find(good.kid) == good


async def test_a_key_of_another_type(valkey, admin):
    """A value of another Redis type is Unreadable, and counted; other keys are not affected."""
    good = await admin.issue()
    valkey.admin.rpush(stored.key(KID), "text")
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        with pytest.raises(Unreadable, match=f"{KID}: it is neither a text nor a hash"):
            await sidecar.find(KID)
        assert sidecar.probe.events[Event.RECORD_UNREADABLE] == 1
        assert await sidecar.find(good.kid) == good


async def test_emptied_store_before_any_heartbeat(valkey, admin):
    """Right after the store was emptied a good key is Unavailable, not unknown."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        valkey.admin.flushall()
        with pytest.raises(Unavailable, match="authz init"):
            await sidecar.find(record.kid)
        assert sidecar.is_trusted


async def test_key_that_appears_between_two_looks(valkey, admin):
    """A key that is issued while its absence is being confirmed is found."""
    record = await admin.issue()
    found = valkey.admin.hgetall(stored.key(record.kid))
    valkey.admin.delete(stored.key(record.kid))
    delivered = []
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        link = sidecar.feed.link
        sidecar.source.load(record.kid, delivered.append)
        link.send(lambda _reply: valkey.admin.hset(stored.key(record.kid), mapping=found), "PING")
        await eventually(lambda: delivered)
    assert delivered == [record]


async def test_overload_while_absence_is_confirmed(valkey, admin):
    """A lookup that the link refuses half way does not harm the link."""
    record = await admin.issue()
    delivered = []
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        link = sidecar.feed.link
        for room in (0, 1, 2, 3):
            link._max_pending = 10
            sidecar.source.load(KID, delivered.append)
            for _ in range(9):
                link.send(lambda _reply: None, "PING")
            link._max_pending = 9 + room
            await eventually(lambda expected=room + 1: len(delivered) == expected)
            link._max_pending = 100
            assert await link.call("ECHO", "in step") == "in step"
        assert await sidecar.find(record.kid) == record
    assert all(answer is None or isinstance(answer, Unavailable) for answer in delivered)
