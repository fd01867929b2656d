"""The faults of a cluster, one at a time. Each ends its own effect."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, NamedTuple

from redis import RedisError

from authz.core.errors import Fault
from authz.core.listen_address import Address
from authz.storage.cluster import read_slots, slot_of
from tests.chaos.history import now
from tests.chaos.membership import add_and_remove
from tests.chaos.world import World
from tests.support.cluster import Cluster, Node
from tests.support.real import eventually

SETTLED = 3.0  # seconds after a fault, in which sidecars find the owner again
MOVES = 1.5  # seconds for which the slot is between two nodes
CHANGES = 50  # that the new primary confirms while the old one is cut off
ALONE = 6.0  # seconds for which it is cut off after that: twice the lease and the isolation
LATE = 0.15  # seconds for a reply, with a deadline of 0.5 s in the sidecars
WAIT_MS = 200
EVERY = 0.05
LONG = 60.0  # seconds that a cluster may need on a busy machine

Event = Callable[[World, Cluster], Awaitable[None]]


class Hit(NamedTuple):
    """A fault, and whether it hits the shard with our slot, the slot alone, or another shard."""

    play: Event
    where: Literal["shard", "slot", "other"] = "shard"


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
    move = ("SLOTSRANGE", cluster.slot, cluster.slot, "NODE", target.node_id)
    owner.ask("CLUSTER", "MIGRATESLOTS", *move)
    await asyncio.sleep(MOVES)


async def move_slowly(world: World, cluster: Cluster) -> None:
    """Move the slot to another primary, key by key, with a pause in the middle."""
    world.faults.append("slot moved key by key")
    owner = await _owner(cluster)
    target = _another(world.dice, cluster, owner)
    await cluster.begin_move(owner, target)
    names = owner.ask("CLUSTER", "GETKEYSINSLOT", cluster.slot, 100_000)
    records = [name for name in names if ":key:" in name]
    await cluster.migrate(owner, target, *records)
    await asyncio.sleep(MOVES)
    await cluster.move_slot(owner, target)


async def lose_another_shard(world: World, cluster: Cluster) -> None:
    """Stop another shard, with its replicas, until the cluster has noticed."""
    world.faults.append("another shard lost")
    lost = _another(world.dice, cluster, await _owner(cluster))
    shard = cluster.shard_of(lost)
    async with world.loss_of(_partitions_of(world, lost)):
        for node in shard:
            node.pause()
        await asyncio.sleep(SETTLED)
        for node in shard:
            node.resume()
        await well(cluster)
        await asyncio.sleep(SETTLED)


def faults_of(dice: random.Random, cluster: Cluster) -> list[Hit]:
    """Return the faults of an episode. The first node that owns the slot can be isolated once."""
    moves = [move] if cluster.moves_at_once else []
    others = [
        Hit(kill),
        Hit(partial(fail_over, how="")),
        Hit(partial(fail_over, how="TAKEOVER")),
        *(Hit(one, "slot") for one in (*moves, move_slowly, add_and_remove)),
        Hit(lose_another_shard, "other"),
    ]
    dice.shuffle(others)
    return [Hit(isolate), *others]


async def suffer(world: World, cluster: Cluster, hit: Hit) -> None:
    """Play a fault to its end. The other partitions have no outage."""
    if hit.where == "other":
        await hit.play(world, cluster)
        return
    lost = frozenset({cluster.names.partition})
    if hit.where == "shard":
        lost = _partitions_of(world, await _owner(cluster))
    async with world.loss_of(lost):
        await hit.play(world, cluster)
        await well(cluster)
        await asyncio.sleep(SETTLED)


def _partitions_of(world: World, node: Node) -> frozenset[int]:
    """Return the numbers of the partitions whose slot a primary owns."""
    slots = read_slots(node.ask("CLUSTER", "SLOTS"), Address("127.0.0.1", node.port))
    own = [slots_ for slots_, nodes in slots if nodes[0].port == node.port]
    return frozenset(
        one.partition
        for one in world.endpoint.partitions()
        if any(slot_of(one.names.meta) in slots_ for slots_ in own)
    )


async def watch(world: World) -> None:
    """Record as outages the times in which a partition does not take writes, until cancelled.

    A write is taken if its owner answers soon and a replica has it. So many servers on a busy
    machine stand still now and then, and a cluster that misses one of them for long is down.
    """
    await asyncio.gather(*(_watch(world, at) for at in range(len(world.partitions))))


async def _watch(world: World, partition: int) -> None:
    client, this = world.partitions[partition].client, frozenset({partition})
    name = f"{world.endpoint.partitions()[partition].names.meta}:watched"
    taken = now()
    while True:
        began, replicas = now(), 0
        with contextlib.suppress(RedisError, OSError, Fault):
            pipe = client.pipeline(transaction=False)
            pipe.set(name, 1)
            pipe.wait(1, WAIT_MS)
            replicas = (await pipe.execute())[1]
        if replicas and now() - began < LATE:
            taken = now()
        else:
            world.lost(this, taken)
        await asyncio.sleep(EVERY * len(world.partitions))


async def well(cluster: Cluster) -> None:
    """Wait until the owner is known and replicas follow it.

    A thread looks, because gates of the bus need this loop: else a busy cluster never gets well.
    """
    await eventually(lambda: asyncio.to_thread(_is_well, cluster), LONG)


def _is_well(cluster: Cluster) -> bool:
    if not any(node.owns_slot for node in cluster.nodes):
        return False
    states = [str(node.ask("CLUSTER", "INFO")) for node in cluster.nodes]
    shards = map(cluster.shard_of, filter(lambda node: node.is_primary, cluster.nodes))
    return all("cluster_state:ok" in state for state in states) and all(map(_is_followed, shards))


def _is_followed(shard: list[Node]) -> bool:
    """Return whether all replicas of a primary have its data, and there is at least one."""
    found = shard[0].admin.info("replication")
    followed = [
        one for name, one in found.items() if name.startswith("slave") and name[5:].isdigit()
    ]
    return len(followed) == len(shard) - 1 > 0 and all(one["state"] == "online" for one in followed)


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
