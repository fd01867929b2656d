"""Alarms and rules about anomalies on a real store, with one partition and with several."""

import time
from contextlib import asynccontextmanager

import pytest

from authz.core.changes import Action
from authz.core.errors import Unavailable
from authz.core.new_keys import KeySpec
from authz.core.records import Status
from authz.core.trail import alarms
from authz.core.usage.anomalies.features import Feature, Reason
from authz.core.usage.anomalies.policy import Done
from authz.core.usage.anomalies.ports import Round
from authz.core.usage.anomalies.ranking import Anomaly
from authz.flows.lifecycle import Lifecycle
from authz.process.clock import SystemClock
from authz.settings import model
from authz.storage.trail import StoredRows, entry_of
from authz.wiring.administration import keyring, our_parts, stores
from authz.wiring.anomalies import anomaly_works
from authz.wiring.deliveries import delivered_rotation
from authz.wiring.notifications import sinks_of_all
from authz.wiring.usage_readers import habits
from tests.support.serving import Serving

HOUR = int(time.time()) // 3600 - 3
RATE, NETWORKS = (Reason(one, 9, 1, 2) for one in (Feature.RATE, Feature.NETWORKS))
BOTH = ("rate", "networks")
RULES = {
    "alarms": {"plans": ["silver"]},
    "disable": {"stolen": {"features": list(BOTH), "of": {"plans": ["gold"]}}},
    "throttle": {
        "loop": {"features": list(BOTH), "of": {"plans": ["bronze"]}, "percent": 50, "lasts": "6h"}
    },
    "max_per_hour": 6,
}

pytestmark = pytest.mark.parametrize("count", [1, 8])


class Rig:
    """A store with keys, and the alarms of two processes of `authz admin`."""

    def __init__(self, settings, parts, ring) -> None:
        self.settings, self.parts, self.ring = settings, parts, ring
        self.clock = SystemClock()
        self.lifecycle = Lifecycle(parts.keys, ring, self.clock, lambda: parts.counters)
        self.one, self.two = (self.process(name) for name in ("one", "two"))
        self.habits = habits(parts)

    def process(self, name):
        """Return the alarms of a process."""
        deliveries = delivered_rotation(
            self.settings, self.parts, self.lifecycle, self.ring, self.clock
        )
        found = anomaly_works(
            *(self.settings, self.parts, self.ring, self.clock),
            deliveries=deliveries,
            instance=name,
            is_ours=lambda: True,
        )
        assert len(found.works) == 2
        return found.alarms

    async def issue(self, plan, number):
        """Issue keys of many clients, and return their kids."""
        made = []
        for at in range(number):
            spec = KeySpec(client_id=f"{plan}{at}", env="live", life_ms=None, plan=plan)
            made.append((await self.lifecycle.issue(spec, self.lifecycle.author("t"))).record.kid)
        return made

    async def odd(self, hour, *kids):
        """Store that these keys are unusual, and that the hour was judged."""
        await self.habits.save({}, [Anomaly(kid, hour, (RATE, NETWORKS)) for kid in kids])
        await self.habits.finish(Round(hour))

    async def record(self, kid):
        """Return the record of a key."""
        (found,) = await self.parts.index.read([kid])
        return found

    async def noted(self):
        """Return kid and result of the alarms in the trail of each partition."""
        found = []
        for client in self.parts.clients:
            rows = [alarms.noted(row) for row in await StoredRows(client).after("", 1000)]
            found.append([(one.kid, one.done) for one in rows if one])
        return found

    async def changes(self, kid):
        """Return what was done to a key."""
        client = self.parts.clients[self.parts.partitions.of(kid)]
        rows = await StoredRows(client).after("", 1000)
        return [entry_of(row).event.action for row in rows if row.kid == kid]


@pytest.fixture
async def rig(tmp_path, valkey, count):
    """A rig with so many partitions."""
    async with rig_of(tmp_path, valkey, count) as found:
        yield found


@asynccontextmanager
async def rig_of(tmp_path, valkey, count):
    """Yield a rig."""
    more = {"redis": {"partitions": count}, "anomalies": RULES}
    more["events"] = {"source": "here", "sinks": {"siem": {"kind": "log"}}}
    settings = model.load(Serving(tmp_path, valkey, more).file, environ={})
    ring = keyring(settings)
    async with stores(settings) as found:
        for store in found:
            await store.initialise(ring.fingerprints, ring.prefixes, is_compact=True)
    async with our_parts(settings, ring) as parts:
        yield Rig(settings, parts, ring)


def expected(rig, results):
    """Return these results by partition."""
    found = [[] for _ in rig.parts.clients]
    for kid, done in results:
        found[rig.parts.partitions.of(kid)].append((kid, done))
    return [sorted(each) for each in found]


async def test_rules_change_each_key_once(rig):
    """The row in the partition of a key says what its rule did, whatever other processes do."""
    gold, bronze, silver = [
        await rig.issue(*of) for of in (("gold", 3), ("bronze", 3), ("silver", 9))
    ]
    await rig.odd(HOUR, *gold, *bronze, *silver)
    for _ in range(3):
        await rig.one.look()
        await rig.two.look()
    done = {Done.DISABLED: gold, Done.THROTTLED: bronze, Done.NOTED: silver}
    wanted = expected(rig, [(kid, result) for result, kids in done.items() for kid in kids])
    assert [sorted(each) for each in await rig.noted()] == wanted
    for kid in gold:
        assert (await rig.record(kid)).status is Status.DISABLED
        assert await rig.changes(kid) == [Action.ISSUE, Action.DISABLE]
    for kid in bronze:
        assert (await rig.record(kid)).throttle.percent == 50
        assert await rig.changes(kid) == [Action.ISSUE, Action.UPDATE]
    counts = {result: rig.one.done[result] + rig.two.done[result] for result in Done}
    assert {result: number for result, number in counts.items() if number} == {
        result: len(kids) for result, kids in done.items()
    }
    events = await sinks_of_all(rig.settings, rig.parts, rig.ring).newest(
        "authz.key.anomaly", None, 100
    )
    assert sorted(one["data"]["kid"] for one in events) == sorted(gold + bronze + silver)


async def test_keys_of_all_partitions_count_together(rig):
    """A look that would change more keys than allowed changes none, wherever they are."""
    gold = await rig.issue("gold", 7)
    await rig.odd(HOUR, *gold)
    assert await rig.one.look()
    held = [(kid, Done.HELD) for kid in gold]
    assert [sorted(each) for each in await rig.noted()] == expected(rig, held)
    more = await rig.issue("gold", 14)
    await rig.odd(HOUR + 1, *more[7:11])
    assert await rig.one.look()
    await rig.odd(HOUR + 2, *more[11:])
    assert await rig.two.look()
    states = [(await rig.record(kid)).status for kid in more[7:]]
    assert states.count(Status.DISABLED) == 6


async def test_a_partition_that_is_away(rig):
    """No rule runs, because too many keys may be unusual there. The next look after that does."""
    gold = await rig.issue("gold", 3)
    await rig.odd(HOUR, *gold)
    last = len(rig.parts.clients) - 1
    rig.parts.missing[last] = Unavailable("it is away")
    with pytest.raises(Unavailable, match="it is away"):
        await rig.process("three").look()
    del rig.parts.missing[last]
    assert await rig.process("three").look()
    assert [sorted(each) for each in await rig.noted()] == expected(
        rig, [(kid, Done.DISABLED) for kid in gold]
    )
