"""Events of a store with several partitions: each trail is delivered on its own."""

import asyncio
import json
import logging

from authz.core.new_keys import KeySpec
from authz.core.notifications.notification import partition_of
from authz.core.partitions import Partitions
from authz.flows.lifecycle import Lifecycle
from authz.flows.notifications.counts import EventCounts
from authz.process.clock import SystemClock
from authz.settings import model
from authz.wiring.administration import keyring, our_parts, stores
from authz.wiring.notifications import event_works
from tests.support.real import Valkey, eventually
from tests.support.serving import Serving

COUNT = 8


async def test_every_event_of_every_partition_arrives(tmp_path, valkey: Valkey, caplog):
    """Events of one key come in order, also over a restart. Their ids name their partition."""
    caplog.set_level(logging.INFO)
    more = {
        "redis": {"partitions": COUNT},
        "events": {"source": "here", "sinks": {"siem": {"kind": "log"}}},
    }
    settings = model.load(Serving(tmp_path, valkey, more).file, environ={})
    ring = keyring(settings)
    async with stores(settings) as found:
        for store in found:
            await store.initialise(ring.fingerprints, ring.prefixes, is_compact=True)
    clock = SystemClock()

    def delivered() -> list[dict]:
        texts = (record.getMessage() for record in caplog.records)
        found = [json.loads(text) for text in texts if text.startswith("{")]
        return list({one["id"]: one for one in found}.values())  # at least once each

    async with our_parts(settings, ring) as parts:

        def run(instance: str) -> None:
            works = event_works(
                *(settings, parts, ring, clock),
                instance=instance,
                is_ours=lambda: True,
                counts=EventCounts(),
            )
            running.update(asyncio.ensure_future(work()) for work in works)

        async def end() -> None:
            left = asyncio.all_tasks() - others
            while left:  # a task may be in a call that does not end at once
                for task in left:
                    task.cancel()
                _, left = await asyncio.wait(left, timeout=0.5)

        others, running = asyncio.all_tasks(), set[asyncio.Future[None]]()
        run("one")
        names = [client.names for client in parts.clients]
        await eventually(lambda: all(valkey.admin.exists(one.sink("siem")) for one in names))
        lifecycle = Lifecycle(parts.keys, ring, clock, lambda: parts.counters)
        made = []
        for number in range(12):
            spec = KeySpec(client_id=f"c{number}", env="live", life_ms=None)
            made.append((await lifecycle.issue(spec, lifecycle.author("tests"))).record.kid)
        await eventually(lambda: len(delivered()) == 12)
        await end()
        for kid in made:
            await lifecycle.disable(kid, lifecycle.author("tests"))
        assert len(delivered()) == 12
        run("one")  # the lease of the first one lasts
        await eventually(lambda: len(delivered()) == 24)
        await end()
    arrived = delivered()
    for kid in made:
        own = [one for one in arrived if one["data"]["kid"] == kid]
        assert [one["type"] for one in own] == ["authz.key.created", "authz.key.disabled"]
        assert {partition_of(one["id"])[0] for one in own} == {Partitions(COUNT).of(kid)}
    assert [valkey.admin.exists(one.leader) for one in names] == [1] + [0] * 7
