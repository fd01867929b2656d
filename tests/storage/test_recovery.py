"""The store returns after an outage: no burst of lookups hits it, and nothing has piled up."""

import asyncio
import os

from authz.core.errors import Unavailable
from tests.support.real import eventually
from tests.support.storage.sidecar import LEASE, Sidecar

KEYS = 20
WAITERS = 25


async def test_one_load_for_each_key(own_valkey, own_admin):
    """A key that many requests wait for is loaded once when the store is back."""
    records = [await own_admin.issue() for _ in range(KEYS)]
    own_valkey.admin.save()
    async with Sidecar(own_valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        own_valkey.kill()
        await sidecar.untrusted()
        own_valkey.start()
        await sidecar.trusted()

        loads = []
        load = sidecar.source.load
        sidecar.source.load = lambda kid, deliver: (loads.append(kid), load(kid, deliver))
        waiting = [sidecar.cache.find(record.kid) for record in records for _ in range(WAITERS)]
        found = await asyncio.gather(*waiting)
        assert found == [record for record in records for _ in range(WAITERS)]
        assert sorted(loads) == sorted(record.kid for record in records)


async def test_nothing_piles_up_in_an_outage(own_valkey, own_admin):
    """Lookups and connection attempts leave no task, socket or load behind."""
    record = await own_admin.issue()
    own_valkey.admin.save()
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        own_valkey.kill()
        await eventually(lambda: "refused" in sidecar.reason)
        tasks, files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        for _ in range(200):
            results = await asyncio.gather(
                *(sidecar.cache.find(record.kid) for _ in range(5)), return_exceptions=True
            )
            assert all(isinstance(result, Unavailable) for result in results)
            await asyncio.sleep(LEASE / 100)
        assert not sidecar.cache._loads
        assert len(asyncio.all_tasks()) <= tasks
        assert len(os.listdir("/proc/self/fd")) <= files + 1  # one attempt may be under way

        own_valkey.start()
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record
