"""The faults of a primary behind Sentinel."""

import asyncio

from authz.storage.feed import CONNECTION_NAME
from tests.chaos.world import World
from tests.support.failover import Replicated
from tests.support.gate import closed_to_all_but, open_to_all


async def fail_over(world: World, store: Replicated, *, isolated: bool) -> None:
    """Isolate the primary from all but the sidecars, or kill it; wait for a failover; restore it.

    An isolated primary either stops taking writes (min-replicas-to-write) or does not.
    """
    async with world.outage():
        if isolated:
            is_guarded = world.dice.random() < 0.5
            world.begin(f"primary isolated{'' if is_guarded else ', unguarded'}")
            if not is_guarded:
                store.primary.admin.config_set("min-replicas-to-write", 0)
            store.gate.set(closed_to_all_but(CONNECTION_NAME))
        else:
            world.begin("primary killed")
            await asyncio.to_thread(store.primary.kill)
        await store.failed_over()
        await asyncio.sleep(3)
        store.gate.set(open_to_all)
        await asyncio.to_thread(store.primary.start)
        await asyncio.sleep(3)
