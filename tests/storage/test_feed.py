"""ChangeFeed: when it trusts the store, and that it applies or detects every change."""

import pytest

from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.records import Status
from authz.storage import encoding
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.sidecar import Sidecar


async def test_trusted_soon_after_the_start(valkey, admin):
    """A store that is ours is trusted with the first heartbeat, and records are found."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        assert not sidecar.is_trusted
        assert sidecar.reason == "connecting"
        with pytest.raises(Unavailable):
            await sidecar.cache.find(record.kid)

        await sidecar.trusted()

        assert sidecar.reason == ""
        assert sidecar.feed.health().seq == 1
        assert await sidecar.find(record.kid) == record
        await sidecar.holds(record)
    assert not sidecar.is_trusted
    assert sidecar.cache.peek(record.kid) is None


async def test_revocation(valkey, admin):
    """A revocation removes the record from the cache and is remembered for ever."""
    record = await admin.issue()
    before = encoding.encode(record) | {"version": "1"}
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        assert (await sidecar.find(record.kid)).status is Status.ACTIVE

        await admin.revoke(record.kid)
        await sidecar.caught_up(2)
        assert sidecar.cache.peek(record.kid) is None
        assert (await sidecar.find(record.kid)).status is Status.REVOKED

        valkey.admin.hset(stored.key(record.kid), mapping=before)
        sidecar.cache.flush()
        assert (await sidecar.find(record.kid)).status is Status.REVOKED


async def test_every_change_is_told(valkey, admin):
    """Issue and disable are applied at once, without a gap or a flush."""
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        record = await admin.issue()
        assert (await sidecar.find(record.kid)).status is Status.ACTIVE
        await admin.disable(record.kid)
        await sidecar.caught_up(2)

        assert (await sidecar.find(record.kid)).status is Status.DISABLED
        assert sidecar.probe.events[Event.CHANGE_APPLIED] == 2
        assert sidecar.probe.events[Event.CHANGE_GAP] == 0
        assert sidecar.probe.events[Event.FLUSH] == 1


@pytest.mark.parametrize(
    "notice",
    ["", "nonsense", "9 short revoked", "-1 {kid} revoked", "٣ {kid} revoked", "2 {kid}", "\udcff"],
)
async def test_garbled_notice(valkey, admin, notice):
    """An unreadable notice is counted and changes nothing."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        text = notice.format(kid=record.kid).encode("utf-8", "surrogateescape")
        valkey.admin.publish(stored.CHANGES, text)
        await eventually(lambda: sidecar.probe.events[Event.CHANGE_GARBLED] == 1)

        await sidecar.trusted()
        await sidecar.holds(record)
        assert sidecar.feed.health().seq == 1


async def test_lost_notice(valkey, admin):
    """The next heartbeat detects a change whose notice was lost."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        valkey.admin.hset(stored.key(record.kid), "status", "revoked")
        valkey.admin.set(stored.SEQ, "2")
        await sidecar.caught_up(2)

        assert sidecar.probe.events[Event.CHANGE_GAP] == 1
        assert (await sidecar.find(record.kid)).status is Status.REVOKED


async def test_gap_between_notices(valkey, admin):
    """A notice with a number that is not the next one reveals lost notices."""
    record, other = await admin.issue(), await admin.issue()
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:  # no second heartbeat helps
        await sidecar.trusted()
        await sidecar.find(record.kid)
        valkey.admin.set(stored.SEQ, "4")
        valkey.admin.publish(stored.CHANGES, f"4 {other.kid} active")
        await sidecar.caught_up(4)

        assert sidecar.probe.events[Event.CHANGE_GAP] == 1
        assert sidecar.cache.peek(record.kid) is None


async def test_repeated_notice(valkey, admin):
    """A repeated notice drops its key again and nothing else."""
    record, other = await admin.issue(), await admin.issue()
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        await sidecar.find(other.kid)
        valkey.admin.publish(stored.CHANGES, f"1 {record.kid} active")
        await eventually(lambda: sidecar.cache.peek(record.kid) is None)

        await sidecar.holds(other)
        assert sidecar.feed.health().seq == 2


async def test_sequence_went_back(valkey, admin):
    """A sequence that went back means a restored store: it is counted, and the cache is flushed."""
    record, _ = await admin.issue(), await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        valkey.admin.set(stored.SEQ, "1")
        await sidecar.caught_up(1)

        assert sidecar.probe.events[Event.SEQUENCE_WENT_BACK] == 1
        assert sidecar.cache.peek(record.kid) is None
        await sidecar.trusted()


@pytest.mark.parametrize("seq", ["nonsense", "-1", "1.5", "", "9" * 5000, "٣"])
async def test_garbled_sequence(valkey, admin, seq):
    """A sequence that is not a number ends trust, because missed changes cannot be detected."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        valkey.admin.set(stored.SEQ, seq)
        await eventually(lambda: "seq" in sidecar.reason)
        assert not sidecar.is_trusted

        valkey.admin.set(stored.SEQ, "1")
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record
