"""Registration and StoredSidecars on a real store: entries and acknowledged changes."""

import asyncio
import json
import logging

import pytest

from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.flows.confirmation import acknowledged
from authz.storage import registration, registry
from authz.storage.crowd import ACKNOWLEDGE_MIN
from authz.storage.link import Link
from authz.storage.listing import StoredTrail
from authz.storage.registry import StoredSidecars
from tests.support.fakes import make_keyring
from tests.support.real import RealClock, eventually
from tests.support.storage import stored
from tests.support.storage.sidecar import LEASE, Registered


@pytest.fixture
async def directory(valkey):
    """A StoredSidecars on the shared server."""
    client = valkey.endpoint.client()
    yield StoredSidecars(client)
    await client.aclose()


@pytest.fixture
async def trail(valkey):
    """A StoredTrail on the shared server."""
    client = valkey.endpoint.client()
    yield StoredTrail(client)
    await client.aclose()


def _ignore(*_told):
    pass


async def heard(directory):
    """Return every remembered sidecar by instance."""
    _, found = await directory.find()
    return {each.sidecar.instance: each for each in found}


async def heartbeats(valkey, count):
    """Wait for so many heartbeats."""

    def answered():
        return int(valkey.admin.info("commandstats").get("cmdstat_role", {"calls": 0})["calls"])

    wanted = answered() + count
    await eventually(lambda: answered() >= wanted)


async def test_a_sidecar_says_who_it_is(valkey, admin, directory):
    """An entry holds the applied change, the number of cached records, and trust."""
    record = await admin.issue()
    async with Registered(valkey.endpoint, grace_ms=5000) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)

        async def settled():
            found = (await heard(directory)).get("web-1")
            is_new = found and found.silent_ms < 1000
            return found if is_new and found.is_trusted and found.sidecar.entries else None

        found = await eventually(settled)

    assert found.sidecar.applied == record.version
    assert (found.sidecar.lease_ms, found.sidecar.grace_ms) == (round(LEASE * 1000), 5000)
    assert found.sidecar.reason == ""
    assert (await directory.find())[0] == record.version


@pytest.mark.parametrize("count", [1, 3])
async def test_a_change_is_acknowledged_by_all(valkey, admin, directory, trail, count):
    """Waiting for a change ends when no sidecar holds anything older."""
    record = await admin.issue()
    sidecars = [Registered(valkey.endpoint, f"web-{i}", lease=60) for i in range(count)]
    for sidecar in sidecars:
        await sidecar.__aenter__()
        await sidecar.trusted()
        await sidecar.find(record.kid)
    try:
        revoked = await admin.revoke(record.kid)
        found = await acknowledged(directory, trail, revoked, 60, RealClock())
        held = [sidecar.cache.peek(record.kid) for sidecar in sidecars]
    finally:
        for sidecar in sidecars:
            await sidecar.__aexit__()

    assert (found.confirmed, found.sidecars, found.is_complete) == (count, count, True)
    assert held == [None] * count


async def test_a_sidecar_that_does_not_hear_is_outstanding_until_its_time_is_over(
    valkey, admin, directory, trail
):
    """A sidecar with a half-open link is outstanding until its lease has passed."""
    record = await admin.issue()
    async with Registered(valkey.endpoint, lease=4) as sidecar:  # over when `at_once` is not
        await sidecar.trusted()
        await eventually(lambda: sidecar.registration._acknowledged == record.version)
        sidecar.cut()
        revoked = await admin.revoke(record.kid)

        at_once = await acknowledged(directory, trail, revoked, 0, RealClock())
        later = await acknowledged(directory, trail, revoked, 60, RealClock())

        assert (at_once.confirmed, at_once.is_complete) == (0, False)
        assert at_once.outstanding[0].instance == "web-1"
        assert later.is_complete


async def test_a_burst_is_a_few_writes(valkey, admin, directory):
    """The first change is acknowledged at once, those shortly after it together."""
    record = await admin.issue()
    async with Registered(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        await eventually(lambda: sidecar.registration._acknowledged == record.version)
        before = int(valkey.admin.info("commandstats")["cmdstat_set"]["calls"])
        began = RealClock().monotonic()
        changes = 200
        for _ in range(changes // 2):
            await admin.lifecycle.disable(record.kid, admin.lifecycle.author("test"))
            await admin.lifecycle.enable(record.kid, admin.lifecycle.author("test"))
        last = record.version + changes
        await eventually(lambda: sidecar.registration._acknowledged == last)
        took = RealClock().monotonic() - began
        # each change sets the sequence number with SET, too
        written = int(valkey.admin.info("commandstats")["cmdstat_set"]["calls"]) - before - changes

    assert 1 <= written <= took / ACKNOWLEDGE_MIN + 2


async def test_a_sidecar_that_leaves_is_gone_at_once(valkey, admin, directory):
    """A sidecar that leaves removes its entry and its place in the index; others stay."""
    async with Registered(valkey.endpoint) as leaver, Registered(valkey.endpoint, "web-2") as other:
        for sidecar in (leaver, other):
            await sidecar.trusted()
        await leaver.registration.leave()

        assert set(valkey.admin.zrange(stored.SIDECARS, 0, -1)) == {"web-2"}
        assert set(await heard(directory)) == {"web-2"}


async def test_a_predecessor_is_remembered_until_nothing_of_it_is_held(valkey, admin, directory):
    """A restored sidecar removes its predecessor's entry only after its first trust."""
    async with Registered(valkey.endpoint, "old") as old:
        await old.trusted()
    assert set(await heard(directory)) == {"old"}

    async with Registered(valkey.endpoint, "new", predecessor="old") as new:
        await new.trusted()
        await eventually(lambda: set(valkey.admin.zrange(stored.SIDECARS, 0, -1)) == {"new"})
        assert set(await heard(directory)) == {"new"}


async def test_leaving_without_a_link_is_quick(valkey, monkeypatch):
    """Leaving without a link returns at once, however long a link would be waited for."""
    monkeypatch.setattr(registration, "LEAVE_SECONDS", 3600)
    sidecar = Registered(valkey.endpoint)

    async with asyncio.timeout(5):
        await sidecar.registration.leave()


async def test_a_killed_sidecar_is_remembered_as_silent(valkey, admin, directory):
    """A killed sidecar's entry is kept longer than any grace, by the store's clock."""
    async with Registered(valkey.endpoint) as sidecar:
        await sidecar.trusted()
    name = stored.sidecar("web-1")
    left = valkey.admin.pttl(name)
    valkey.admin.pexpire(name, left - 5000)

    found = (await heard(directory))["web-1"]

    assert 5000 <= found.silent_ms < 10_000
    assert not found.is_trusted
    assert left <= registry.KEPT_MS


async def test_nothing_is_acknowledged_between_a_flush_and_trust(valkey, admin, directory):
    """Between a flush and the next trust no change is acknowledged."""
    record = await admin.issue()
    async with Registered(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        registration = sidecar.registration
        await eventually(lambda: registration._acknowledged == record.version)

        registration.flush()
        registration.forget("A" * 16, revoked=False)
        assert registration._due is None
        assert registration._acknowledged is None

        registration.trust(sidecar.clock.monotonic() + 60)
        await eventually(lambda: registration._acknowledged == record.version)


async def test_without_trust_nothing_is_acknowledged(valkey, admin, directory):
    """A change heard on a new link is acknowledged only after its first heartbeat."""
    record = await admin.issue()
    async with Registered(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        registration = sidecar.registration
        await eventually(lambda: registration._acknowledged == record.version)
        registration.trust(0.0)
        disabled = await admin.disable(record.kid)
        await sidecar.caught_up(disabled.version)

        assert registration._acknowledged == record.version
        registration.trust(sidecar.clock.monotonic() + 60)
        await eventually(lambda: registration._acknowledged == disabled.version)


async def test_a_new_link_vouches_for_nothing_before_it_is_trusted(valkey, admin, directory):
    """On a new link the entry names no change until that link is trusted."""
    record = await admin.issue()

    def applied():
        said = json.loads(valkey.admin.get(stored.sidecar("web-1")))
        return said["applied"], said["trusted"]

    async with Registered(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await eventually(lambda: applied() == (record.version, True))

    another = await valkey.endpoint.open(lambda: Link(_ignore, _ignore))
    await valkey.endpoint.greet(another, "another")
    sidecar.registration.announce(another)
    await another.call("PING")  # it has taken what was said
    another.abort()

    assert applied() == (None, False)


async def test_a_store_that_is_not_ours_is_told_nothing(valkey, admin, directory):
    """An entry that was written before the store was found foreign is removed."""
    async with Registered(valkey.endpoint, keyring=make_keyring("ak", "2")) as sidecar:
        await eventually(lambda: sidecar.feed.is_foreign)
        await eventually(lambda: not valkey.admin.exists(stored.sidecar("web-1")))
        flushes = sidecar.probe.events[Event.FLUSH]
        await heartbeats(valkey, 3)

        assert await heard(directory) == {}
        assert sidecar.probe.events[Event.FLUSH] == flushes


async def test_a_store_that_turns_foreign_ends_what_is_held(valkey, admin):
    """Other peppers in authz:meta drop all entries kept for an outage."""
    record = await admin.issue(outage_grace=60_000)
    async with Registered(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        assert sidecar.cache.peek_stale(record.kid) is not None

        valkey.admin.hset(stored.META, "pepper:1", "f" * 32)
        await eventually(lambda: sidecar.feed.is_foreign)

        assert sidecar.cache.peek_stale(record.kid) is None


async def test_an_emptied_store_does_not_end_what_is_held(valkey, admin):
    """A missing authz:meta is treated as an outage."""
    record = await admin.issue(outage_grace=60_000)
    async with Registered(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)

        valkey.admin.flushall()
        await sidecar.untrusted()

        assert sidecar.cache.peek_stale(record.kid) == record


@pytest.mark.parametrize(
    "said",
    ["", "{", "[]", "null", json.dumps({"instance": "x"}), json.dumps({"instance": "\x1b[2J"})],
)
async def test_an_entry_that_is_not_understood_proves_nothing(valkey, admin, directory, said):
    """Entries of a later version and garbage are listed, with the reason why they prove nothing."""
    valkey.admin.zadd(stored.SIDECARS, {"web-9": 1})
    valkey.admin.set(stored.sidecar("web-9"), said, px=1000)

    found = await heard(directory)
    assert found["web-9"].doubt == "its entry cannot be read"
    assert found["web-9"].sidecar.applied is None


async def test_a_store_that_refuses_the_word_is_reported_once(own_valkey, own_admin, caplog):
    """A refused registry entry is logged once, and the sidecar keeps serving."""
    own_valkey.admin.acl_setuser(
        "quiet",
        enabled=True,
        passwords=["+s"],
        keys=["*"],
        channels=["*"],
        commands=["+@all", "-set"],
    )
    record = await own_admin.issue()
    with caplog.at_level(logging.WARNING):
        async with Registered(own_valkey.login("quiet", "s")) as sidecar:
            await sidecar.trusted()
            assert await sidecar.find(record.kid) == record
            await heartbeats(own_valkey, 3)

    lines = [line for line in caplog.messages if "does not let this sidecar register" in line]
    assert len(lines) == 1
    assert "NOPERM" in lines[0]


async def test_who_asks_a_store_that_is_down_is_told(own_valkey):
    """Reading the registry of an unreachable store raises Unavailable."""
    client = own_valkey.endpoint.client()
    own_valkey.kill()

    with pytest.raises(Unavailable):
        await StoredSidecars(client).find()
    await client.aclose()


async def test_who_asks_a_store_with_a_garbled_sequence_is_told(valkey, admin, directory):
    """Reading the registry with a garbled sequence raises Unavailable."""
    valkey.admin.set(stored.SEQ, "1e3")

    with pytest.raises(Unavailable, match="'1e3' is not a whole number"):
        await directory.find()


async def test_what_has_not_been_heard_for_ever_leaves_the_list(valkey, admin):
    """A sidecar that connects removes outdated instances from the index."""
    valkey.admin.zadd(stored.SIDECARS, {"long-gone": 1})
    async with Registered(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await eventually(lambda: valkey.admin.zrange(stored.SIDECARS, 0, -1) == ["web-1"])
