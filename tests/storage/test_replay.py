"""Missed changes are read from the log: no needless flush, and nothing is missed."""

import asyncio
import time

import pytest

from authz.core.events import Event
from authz.core.records import Status
from authz.storage.follower import PAGE
from tests.support.fakes import KID
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.sidecar import LEASE, Sidecar

# As apply_change.lua tells of a change, `ARGV[2]` times: a bulk update. `silent` ones tell nobody.
CHANGES = """
for _ = 1, ARGV[2] do
  local seq = string.format('%.0f', tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
  redis.call('SET', KEYS[1], seq)
  redis.call('XADD', KEYS[2], seq .. '-0',
    'kid', ARGV[1], 'status', ARGV[3], 'at', '1750000000000', 'change_id', 'c' .. seq)
  redis.call('HSET', KEYS[3], 'status', ARGV[3], 'version', seq)
  if ARGV[5] == '' then
    local words = {seq, ARGV[1], ARGV[3], '1750000000000', 'c' .. seq}
    redis.call('PUBLISH', ARGV[4], table.concat(words, ' '))
  end
end
"""


def change(valkey, kid, *, times=1, status="active", silent=False):
    """Make changes to one key on a separate connection that needs no event loop."""
    names = (stored.SEQ, stored.LOG, stored.key(kid))
    arguments = (kid, times, status, stored.CHANGES, "silent" if silent else "")
    valkey.admin.eval(CHANGES, len(names), *names, *arguments)


async def drop_link(valkey, sidecar):
    """End the link and wait until the next one is trusted."""
    link = sidecar.feed.link
    valkey.admin.client_kill_filter(_type="pubsub")
    await eventually(lambda: sidecar.feed.link not in {None, link})
    await sidecar.trusted()


async def knowing(sidecar, *records):
    """Wait until the sidecar is trusted and has these records."""
    await sidecar.trusted()
    await eventually(lambda: sidecar.feed._follower._position.mark)
    for record in records:
        await sidecar.find(record.kid)


async def test_reconnect(valkey, admin):
    """After a reconnect missed changes are applied, and no other record is dropped."""
    record, other = await admin.issue(), await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await knowing(sidecar, record, other)
        link = sidecar.feed.link
        valkey.admin.client_kill_filter(_type="pubsub")
        change(valkey, record.kid, status="revoked")
        await eventually(lambda: sidecar.feed.link not in {None, link})
        await sidecar.trusted()

        assert sidecar.cache.peek(record.kid) is None
        assert (await sidecar.find(record.kid)).status is Status.REVOKED
        await sidecar.holds(other)
        assert sidecar.feed.health().seq == 3
        assert sidecar.probe.events[Event.LOG_REPLAYED] == 1
        assert sidecar.probe.events[Event.FLUSH] == 1


async def test_reconnect_when_nothing_changed(valkey, admin):
    """A reconnect without changes drops nothing, also on a store without any change."""
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await drop_link(valkey, sidecar)
        record = await admin.issue()
        await knowing(sidecar, record)
        await drop_link(valkey, sidecar)
        await drop_link(valkey, sidecar)

        await sidecar.holds(record)
        assert sidecar.probe.events[Event.FLUSH] == 1


@pytest.mark.parametrize("times", [PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 7])
async def test_pages(valkey, admin, times):
    """The log is read in pages up to its end."""
    record, other = await admin.issue(), await admin.issue()
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await knowing(sidecar, other)
        change(valkey, record.kid, times=times, silent=True)
        await drop_link(valkey, sidecar)

        assert sidecar.feed.health().seq == 2 + times
        assert sum(sidecar.feed.lag.counts) == times
        await sidecar.holds(other)


@pytest.mark.parametrize("told", [0, 1])
async def test_lost_notices(valkey, admin, told):
    """Lost notices are made up for after the next heartbeat or notice."""
    record, other = await admin.issue(), await admin.issue()
    async with Sidecar(valkey.endpoint, lease=60 if told else 0.4) as sidecar:
        await knowing(sidecar, record, other)
        link = sidecar.feed.link
        change(valkey, record.kid, times=5, status="revoked", silent=True)
        change(valkey, KID, times=told)
        await sidecar.caught_up(2 + 5 + told)
        await sidecar.trusted()

        assert sidecar.cache.peek(record.kid) is None
        await sidecar.holds(other)
        assert sidecar.probe.events[Event.CHANGE_GAP] == 1
        assert sidecar.probe.events[Event.FLUSH] == 1
        assert sidecar.feed.link is link


@pytest.mark.parametrize(
    "damage",
    [
        lambda log: log.xtrim(stored.LOG, maxlen=1, approximate=False),
        lambda log: log.delete(stored.LOG),
        lambda log: log.xdel(stored.LOG, "1-0"),
        lambda log: log.xdel(stored.LOG, "3-0"),
        lambda log: log.xdel(stored.LOG, "5-0"),
        lambda log: log.set(stored.LOG, "text"),
    ],
    ids=["trimmed", "deleted", "start is gone", "hole", "end is gone", "another type"],
)
async def test_log_that_does_not_cover_it(valkey, admin, caplog, damage):
    """A log without all missed changes causes a flush and an error in the log."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await knowing(sidecar, record)
        change(valkey, KID, times=4, silent=True)
        damage(valkey.admin)
        await sidecar.caught_up(5)
        await sidecar.trusted()

        assert sidecar.cache.peek(record.kid) is None
        assert sidecar.probe.events[Event.LOG_NOT_COVERED] == 1
        assert sidecar.probe.events[Event.FLUSH] == 2
        assert "log" in sidecar.feed.health().flush.why
        assert [entry.levelname for entry in caplog.records].count("ERROR") == 1


async def test_other_history(own_valkey, own_admin):
    """A store that went back and then beyond our position causes a flush."""
    record = await own_admin.issue()
    own_valkey.admin.save()
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await own_admin.issue()
        await knowing(sidecar, record)
        own_valkey.kill()
        await sidecar.untrusted()
        sidecar.run.cancel()
        own_valkey.start()
        own_valkey.admin.hset(stored.key(record.kid), "status", "revoked")
        for _ in range(3):
            await own_admin.issue()

        sidecar.run = asyncio.create_task(sidecar.feed.run(sidecar.cache))
        await sidecar.trusted()
        assert sidecar.cache.peek(record.kid) is None
        assert "another than the one applied" in sidecar.feed.health().flush.why
        assert sidecar.feed.health().seq == 4


async def test_garbage_in_the_log(valkey, admin, caplog):
    """Unreadable log entries are ignored, counted and logged; changes around them are applied."""
    record, other = await admin.issue(), await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await knowing(sidecar, record, other)
        for entry_id in ("2-1", "2-2", "2-77"):
            valkey.admin.xadd(stored.LOG, {"what": "garbage"}, id=entry_id)
        change(valkey, record.kid, status="revoked", silent=True)
        await sidecar.caught_up(3)

        assert sidecar.cache.peek(record.kid) is None
        await sidecar.holds(other)
        assert sidecar.probe.events[Event.CHANGE_GARBLED] == 3
    assert [entry.name for entry in caplog.records].count("authz.store.ignored") == 3


async def test_garbage_in_place_of_a_change(valkey, admin):
    """An unreadable log entry in place of a change counts as missed and causes a flush."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await knowing(sidecar, record)
        valkey.admin.xadd(stored.LOG, {"what": "garbage"}, id="2-0")
        valkey.admin.set(stored.SEQ, "2")
        await sidecar.caught_up(2)

        assert sidecar.probe.events[Event.CHANGE_GARBLED] >= 1
        assert sidecar.probe.events[Event.LOG_NOT_COVERED] == 1
        assert sidecar.cache.peek(record.kid) is None


async def test_not_trusted_before_it_has_caught_up(valkey, admin):
    """A heartbeat that is answered while the log is being read grants no trust."""
    record = await admin.issue()
    async with Sidecar(valkey.endpoint) as sidecar:
        await knowing(sidecar, record)
        seen = []
        trust = sidecar.cache.trust

        def watch(until):
            if until:
                seen.append((sidecar.feed.health().seq, sidecar.feed._follower.is_reading))
            trust(until)

        sidecar.cache.trust = watch
        valkey.admin.client_kill_filter(_type="pubsub")
        change(valkey, record.kid, times=5 * PAGE, silent=True)
        await sidecar.caught_up(1 + 5 * PAGE)
        await sidecar.trusted()
    after = [entry for entry in seen if entry[0] > 1]
    assert after
    assert set(after) == {(1 + 5 * PAGE, False)}


@pytest.mark.parametrize("limit", ["0 0 0", "1mb 0 0"], ids=["link stays", "subscriber dropped"])
async def test_burst_while_paused(own_valkey, own_admin, limit):
    """50,000 changes during a pause of the process are all applied without a flush."""
    record, other = await own_admin.issue(), await own_admin.issue()
    own_valkey.admin.config_set("client-output-buffer-limit", f"pubsub {limit}")
    async with Sidecar(own_valkey.endpoint, lease=20) as sidecar:
        await knowing(sidecar, record, other)
        link = sidecar.feed.link
        change(own_valkey, KID, times=49_999)
        change(own_valkey, record.kid, status="revoked")
        time.sleep(LEASE)  # the process stands still

        await sidecar.caught_up(50_002)
        await sidecar.trusted()
        assert sidecar.cache.peek(record.kid) is None
        await sidecar.holds(other)
        assert sidecar.probe.events[Event.FLUSH] == 1
        assert (sidecar.feed.link is link) == (limit == "0 0 0")


async def test_lag(valkey, admin):
    """The lag of a change is measured from the store's clock, including clock skew."""
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        await admin.issue()
        await sidecar.caught_up(1)
        assert sidecar.feed.health().lag.count == 1

        sidecar.clock.wall_ms = lambda: time.time_ns() // 1_000_000 + 3000
        await admin.issue()
        await sidecar.caught_up(2)
        assert sidecar.feed.health().lag.max_ms >= 3000


async def test_trust_age(valkey, admin):
    """Health says how long ago the last heartbeat that granted trust was sent."""
    began = time.monotonic()
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        assert sidecar.feed.health().trust_age is None
        await sidecar.trusted()
        age = sidecar.feed.health().trust_age
        assert 0 <= age <= time.monotonic() - began
        await eventually(lambda: sidecar.feed.health().trust_age >= age + 0.4)
