"""The faults of a cluster, one at a time. Each ends its own effect."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from functools import partial

from authz.core.errors import Fault
from tests.chaos.history import now
from tests.chaos.world import World
from tests.support.cluster import SLOT, Cluster, Node
from tests.support.real import eventually

SETTLED = 3.0  # seconds after a fault, in which sidecars find the owner again
MOVES = 1.5  # seconds for which the slot is between two nodes
CHANGES = 50  # that the new primary confirms while the old one is cut off
ALONE = 6.0  # seconds for which it is cut off after that: twice the lease and the isolation
LATE = 0.15  # seconds for a reply, with a deadline of 0.5 s in the sidecars
EVERY = 0.05
LONG = 60.0  # seconds that a cluster may need on a busy machine

Event = Callable[[World, Cluster], Awaitable[None]]


async def isolate(world: World, cluster: Cluster) -> None:
    """Cut the first owner off from all but the sidecars until a replica is promoted."""
    world.faults.append("owner isolated")
    for node in cluster.nodes:
        node.ask("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
    cluster.isolate()
    await cluster.owned_by_another(cluster.owner)
    before = world.confirmed
    await eventually(lambda: world.confirmed >= before + CHANGES, LONG)
    await asyncio.sleep(ALONE)
    cluster.reunite()


async def kill(world: World, cluster: Cluster) -> None:
    """Kill the owner; start it again, empty, after a replica was promoted."""
    world.faults.append("owner killed")
    owner = await _owner(cluster)
    await asyncio.to_thread(owner.kill)
    await cluster.owned_by_another(owner)
    await asyncio.to_thread(owner.start)


async def fail_over(world: World, cluster: Cluster, how: str) -> None:
    """Promote a replica of the owner. how: `TAKEOVER`, or "" for one in good order."""
    world.faults.append(f"failover {how}".rstrip())
    owner = await _owner(cluster)
    heir = next(node for node in cluster.shard_of(owner) if node is not owner)
    heir.ask("CLUSTER", "FAILOVER", *([how] if how else []))
    await asyncio.sleep(MOVES)


async def move(world: World, cluster: Cluster) -> None:
    """Move the slot to another primary in one step."""
    world.faults.append("slot moved at once")
    owner = await _owner(cluster)
    target = _another(world.dice, cluster, owner)
    move = ("SLOTSRANGE", SLOT, SLOT, "NODE", target.node_id)
    owner.ask("CLUSTER", "MIGRATESLOTS", *move)
    await asyncio.sleep(MOVES)


async def move_slowly(world: World, cluster: Cluster) -> None:
    """Move the slot to another primary, key by key, with a pause in the middle."""
    world.faults.append("slot moved key by key")
    owner = await _owner(cluster)
    target = _another(world.dice, cluster, owner)
    cluster.begin_move(owner, target)
    names = owner.ask("CLUSTER", "GETKEYSINSLOT", SLOT, 100_000)
    records = [name for name in names if ":key:" in name]
    await cluster.migrate(owner, target, *records)
    await asyncio.sleep(MOVES)
    await cluster.move_slot(owner, target)


async def lose_another_shard(world: World, cluster: Cluster) -> None:
    """Stop another shard, with its replicas, until the cluster has noticed."""
    world.faults.append("another shard lost")
    shard = cluster.shard_of(_another(world.dice, cluster, await _owner(cluster)))
    for node in shard:
        node.pause()
    await asyncio.sleep(SETTLED)
    for node in shard:
        node.resume()


def faults_of(dice: random.Random) -> list[Event]:
    """Return the faults of an episode. The first node that owns the slot can be isolated once."""
    others: list[Event] = [
        kill,
        partial(fail_over, how=""),
        partial(fail_over, how="TAKEOVER"),
        move,
        move_slowly,
        lose_another_shard,
    ]
    dice.shuffle(others)
    return [isolate, *others]


async def watch(world: World) -> None:
    """Record as outages the times in which the store answers late, until cancelled.

    So many servers on a busy machine stand still now and then.
    """
    while True:
        began = now()
        with contextlib.suppress(Fault):
            await world.store.sequence()
        if now() - began > LATE:
            for sidecar in world.sidecars:
                sidecar.outages.append((began, now()))
        await asyncio.sleep(EVERY)


async def well(cluster: Cluster) -> None:
    """Wait until the owner is known and replicas follow it."""
    await eventually(partial(_is_well, cluster), LONG)


async def _is_well(cluster: Cluster) -> bool:
    owner = await _owner(cluster)
    replicas = len(cluster.shard_of(owner)) - 1
    states = [str(node.ask("CLUSTER", "INFO")) for node in cluster.nodes]
    followed = owner.admin.info("replication")["connected_slaves"]
    return replicas == followed > 0 and all("cluster_state:ok" in state for state in states)


async def _owner(cluster: Cluster) -> Node:
    return await cluster.owned_by_another()


def _another(dice: random.Random, cluster: Cluster, owner: Node) -> Node:
    """Return a primary that has slots and is not this one."""
    primaries = [
        node
        for node in cluster.nodes
        if node is not owner and node.is_primary and len(cluster.shard_of(node)) > 1
    ]
    return dice.choice(primaries)
