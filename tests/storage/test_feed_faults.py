"""ChangeFeed with faults: nothing stale is served after the lease, and it recovers by itself."""

import asyncio
import logging
import time

import pytest

from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.records import Status
from authz.storage import meta
from authz.storage.endpoint import Endpoint
from authz.storage.heartbeats import HEARTBEATS_PER_LEASE
from tests.support.fakes import make_keyring
from tests.support.real import PAUSE, RealClock, eventually, free_port
from tests.support.stalls import conclusively
from tests.support.storage import stored
from tests.support.storage.scripted import HELLO, scripted_store
from tests.support.storage.sidecar import LEASE, Sidecar, administration


def revoke_behind_its_back(valkey, kid, seq):
    """Revoke by the script from a thread, while the event loop of the test is blocked."""
    pipeline = valkey.admin.pipeline()
    pipeline.set(stored.SEQ, seq)
    pipeline.hset(stored.key(kid), mapping={"status": "revoked", "version": seq})
    pipeline.publish(stored.CHANGES, f"{seq} {kid} revoked")
    pipeline.execute()


def fails_at_once(lookup):
    """Return whether a lookup fails in its first step, before it waits."""
    try:
        lookup.send(None)
    except Unavailable:
        return True
    finally:
        lookup.close()
    return False


async def test_store_that_comes_later(own_valkey, own_admin, caplog):
    """A store that is down at the start is the reason shown. When it starts, it is trusted."""
    record = await own_admin.issue()
    own_valkey.admin.save()
    own_valkey.kill()
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await eventually(lambda: "Connection refused" in sidecar.reason)
        assert str(own_valkey.endpoint) in sidecar.reason
        assert not sidecar.is_trusted
        assert fails_at_once(sidecar.cache.find(record.kid))

        own_valkey.start()
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record


async def test_killed_store(own_valkey, own_admin):
    """A killed store loses trust at once, and lookups fail without waiting."""
    record = await own_admin.issue()
    async with Sidecar(own_valkey.endpoint, lease=60) as sidecar:  # long: it is not the lease
        await sidecar.trusted()
        await sidecar.find(record.kid)
        own_valkey.kill()
        await sidecar.untrusted()

        assert sidecar.cache.peek(record.kid) is None
        assert fails_at_once(sidecar.cache.find(record.kid))
        assert fails_at_once(sidecar.cache.find("0" * 16))
        assert sidecar.reason


async def test_lookup_in_flight_when_the_store_dies(own_valkey, own_admin):
    """A lookup whose reply was lost with the link is Unavailable."""
    record = await own_admin.issue()
    async with Sidecar(own_valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        own_valkey.pause()
        lookup = asyncio.create_task(sidecar.cache.find(record.kid))
        await eventually(lambda: sidecar.cache._loads)
        own_valkey.kill()
        with pytest.raises(Unavailable, match="closed"):
            await lookup


async def test_store_that_hangs(own_valkey, own_admin):
    """A hanging store keeps trust for at most one lease. When it continues, it is trusted again."""
    record = await own_admin.issue()
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        own_valkey.pause()
        hung = sidecar.clock.monotonic()

        assert await sidecar.last_served(record.kid) < hung + LEASE
        assert fails_at_once(sidecar.cache.find(record.kid))
        await eventually(lambda: "not answer" in sidecar.reason)
        assert sidecar.cache.peek(record.kid) is None

        own_valkey.resume()
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record


async def test_half_open_link(valkey, admin):
    """A half-open link keeps trust for at most one lease and is then replaced."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        broken = sidecar.feed.link
        sidecar.cut()
        cut = sidecar.clock.monotonic()
        await admin.revoke(record.kid)

        assert await sidecar.last_served(record.kid) < cut + LEASE
        await eventually(lambda: sidecar.feed.link not in {None, broken})
        await sidecar.trusted()
        assert (await sidecar.find(record.kid)).status is Status.REVOKED
        assert not broken.is_open


async def test_killed_connection(valkey, admin):
    """If the store closes the connection, trust ends at once. Changes in between are detected."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        valkey.admin.client_kill_filter(_type="pubsub")
        await admin.revoke(record.kid)
        await eventually(lambda: sidecar.probe.events[Event.LINK_LOST] == 1)

        await sidecar.trusted()
        assert (await sidecar.find(record.kid)).status is Status.REVOKED


async def test_store_that_went_back_in_time(own_valkey, own_admin):
    """A store restarted from an older copy is logged as an error. A revoked key stays revoked."""
    record = await own_admin.issue()
    own_valkey.admin.save()
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await own_admin.revoke(record.kid)
        await sidecar.caught_up(2)

        own_valkey.restart(empty=False)
        await sidecar.caught_up(1)

        assert sidecar.probe.events[Event.SEQUENCE_WENT_BACK] == 1
        await sidecar.trusted()
        assert (await own_admin.store.find(record.kid)).status is Status.ACTIVE
        assert (await sidecar.find(record.kid)).status is Status.REVOKED


async def test_store_that_came_back_empty(own_valkey, own_admin):
    """A store that lost all its data is not trusted until it is initialised again."""
    record = await own_admin.issue()
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        own_valkey.restart()
        await eventually(lambda: "authz init" in sidecar.reason)
        assert fails_at_once(sidecar.cache.find(record.kid))

        async with administration(own_valkey.endpoint):
            await sidecar.trusted()
        assert await sidecar.find(record.kid) is None


async def test_store_with_too_many_clients(own_valkey, own_admin):
    """If the store refuses the connection, its error is the reason."""
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        own_valkey.admin.config_set("maxclients", 1)
        own_valkey.admin.client_kill_filter(_type="pubsub")
        await eventually(lambda: "max number of clients" in sidecar.reason)

        own_valkey.admin.config_set("maxclients", 100)
        await sidecar.trusted()


async def test_paused_process(valkey, admin):
    """A process that was paused for a lease serves none of its old records and then continues."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await sidecar.find(record.kid)
        link = sidecar.feed.link

        revoke_behind_its_back(valkey, record.kid, 2)
        time.sleep(LEASE * 1.5)

        assert sidecar.cache.peek(record.kid) is None
        assert fails_at_once(sidecar.cache.find(record.kid))
        await sidecar.trusted()
        assert (await sidecar.find(record.kid)).status is Status.REVOKED
        assert sidecar.feed.link is link  # the store was not silent, we did not listen
        assert sidecar.probe.events[Event.FLUSH] == 1


async def test_process_paused_while_a_lookup_was_in_flight(own_valkey, own_admin):
    """A reply that waited in the socket during a pause is not served."""
    record = await own_admin.issue()
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        own_valkey.pause()
        lookup = asyncio.create_task(sidecar.cache.find(record.kid))
        await eventually(lambda: sidecar.cache._loads)
        await asyncio.sleep(0)

        own_valkey.resume()
        assert own_valkey.admin.ping()  # the lookup stands before it: it has been answered
        revoke_behind_its_back(own_valkey, record.kid, 2)
        time.sleep(LEASE * 1.5)

        try:
            assert (await lookup).status is Status.REVOKED
        except Unavailable:
            await sidecar.trusted()
            assert (await sidecar.find(record.kid)).status is Status.REVOKED


async def test_heartbeat_that_the_link_refused(own_valkey, own_admin, caplog):
    """A heartbeat that could not be sent does not affect the one in flight."""
    async with Sidecar(own_valkey.endpoint, lease=5) as sidecar:
        await sidecar.trusted()
        own_valkey.pause()
        await eventually(lambda: sidecar.feed._heartbeats._unanswered >= 1)
        sidecar.feed.link.pause_writing()
        asked = sidecar.feed._heartbeats._unanswered
        await eventually(lambda: sidecar.feed._heartbeats._unanswered > asked)
        sidecar.feed.link.resume_writing()
        own_valkey.resume()
        await eventually(lambda: sidecar.feed._heartbeats._unanswered == 0)

        assert sidecar.is_trusted
        assert "not trusted" not in caplog.text


async def test_link_out_of_step():
    """A PONG to another PING ends trust, because replies and commands no longer match."""

    async def script(peer):
        await peer.command()
        await peer.say(HELLO)
        await peer.command()
        await peer.say(b">3\r\n+subscribe\r\n+changes\r\n:1\r\n")
        while (await peer.command())[0] != "PING":
            pass
        await peer.say(b"*1\r\n+master\r\n%0\r\n_\r\n$5\r\nwrong\r\n")
        await peer.commands(1000)

    async with scripted_store(script) as endpoint, Sidecar(endpoint) as sidecar:
        await eventually(lambda: sidecar.reason and "connecting" not in sidecar.reason)
        first = sidecar.feed.link
        assert not sidecar.is_trusted
        await eventually(lambda: sidecar.feed.link not in {None, first})


async def test_late_answer_is_as_old_as_its_question():
    """Trust counts from the sending of the PING, however late its PONG is."""
    lease = 0.8

    async def play():
        asked = []
        async with late_store(asked) as endpoint, Sidecar(endpoint, lease=lease) as sidecar:
            return await trusted_until(sidecar, lease), asked[0] + lease

    trusted, over = await conclusively(play, lambda found: found[0] is not None)
    assert trusted < over


async def trusted_until(sidecar, lease):
    """Return the last moment of trust after it ended; None if it does not end in time."""
    begun = now = sidecar.clock.monotonic()
    trusted = None
    while sidecar.is_trusted or (trusted is None and now < begun + 5 * lease):
        if sidecar.is_trusted:
            trusted = now
        await asyncio.sleep(0)
        now = sidecar.clock.monotonic()
    return trusted


def late_store(asked):
    """A store that answers each PING a quarter of a lease late, when the next one arrives.

    asked: receives the times at which PINGs arrive.
    """
    clock, pongs = RealClock(), []
    ours = meta.entries(make_keyring().fingerprints)
    replies = {
        "HELLO": HELLO,
        "SUBSCRIBE": b">3\r\n+subscribe\r\n+changes\r\n:1\r\n",
        "ROLE": b"*1\r\n+master\r\n",
        "HGETALL": f"%{len(ours)}\r\n".encode()
        + "".join(f"+{name}\r\n+{text}\r\n" for name, text in ours.items()).encode(),
        "GET": b"_\r\n",
        "TIME": f"*2\r\n+{clock.wall_ms() // 1000}\r\n+0\r\n".encode(),
    }

    async def script(peer):
        held = b""
        while len(asked) < 2:
            name, *arguments = await peer.command()
            if name == "PING":
                asked.append(clock.monotonic())
                pongs.append(f"+{arguments[0]}\r\n".encode())
            elif not asked and name in {"HELLO", "SUBSCRIBE"}:
                await peer.say(replies[name])
            elif not asked:
                held += replies[name]
        await peer.say(held + pongs[0])
        await peer.commands(1000)

    return scripted_store(script)


async def test_refused_by_every_attempt(caplog):
    """If every attempt fails in the same way, it is logged once."""
    attempts = 0

    async def script(_peer):
        nonlocal attempts
        attempts += 1

    async with scripted_store(script) as endpoint, Sidecar(endpoint) as sidecar:
        await eventually(lambda: attempts >= 6)
        assert not sidecar.is_trusted
    said = [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert len(said) == 1


async def test_idle_while_the_store_is_down():
    """Reconnecting to a store that is down takes almost no processor time."""
    endpoint = Endpoint.parse(f"redis://127.0.0.1:{free_port()}")

    async def is_idle():
        began, used = time.monotonic(), time.process_time()
        await asyncio.sleep(1.2)
        return time.process_time() - used < 0.2 * (time.monotonic() - began)

    async with Sidecar(endpoint) as sidecar:
        await eventually(lambda: "Connection refused" in sidecar.reason)
        await eventually(is_idle)  # once is enough: what is busy for us is so all the time


async def test_silence_is_counted_in_heartbeats(own_valkey, own_admin):
    """A link is dropped when a lease full of heartbeats is unanswered, and not earlier."""

    async def play():
        async with Sidecar(own_valkey.endpoint) as sidecar:
            await sidecar.trusted()
            link, most = sidecar.feed.link, 0
            own_valkey.pause()
            while link.is_open:
                most = max(most, sidecar.feed._heartbeats._unanswered)
                await asyncio.sleep(PAUSE)
            own_valkey.resume()
            await sidecar.trusted()
            return most

    all_of_them = HEARTBEATS_PER_LEASE
    assert await conclusively(play, lambda most: most == all_of_them) == all_of_them
