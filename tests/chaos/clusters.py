"""The faults of a cluster, one at a time. Each ends its own effect."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, NamedTuple

from redis import RedisError

from authz.core.errors import Fault
from authz.storage.cluster import slot_of
from authz.storage.endpoint import Endpoint
from tests.chaos.history import now
from tests.chaos.membership import add_and_remove
from tests.chaos.world import World
from tests.support.cluster import Cluster, Node
from tests.support.real import eventually

STOPPED = 3.0  # seconds for which another shard stands still
MOVES = 1.5  # seconds for which the slot is between two nodes
CHANGES = 50  # that the new primary confirms while the old one is cut off
ALONE = 6.0  # seconds for which it is cut off after that: twice the lease and the isolation
LATE = 0.15  # seconds for a reply, with a deadline of 0.5 s in the sidecars
WAIT_MS = 200
EVERY = 0.05
LONG = 60.0  # seconds that a cluster may need on a busy machine

Event = Callable[[World, Cluster], Awaitable[None]]


class Hit(NamedTuple):
    """A fault, and whether it hits the shard with our slot, the slot alone, or another shard.

    after: what follows when the partitions are within reach again, without an outage.
    """

    play: Event
    where: Literal["shard", "slot", "other"] = "shard"
    after: Event | None = None


async def isolate(world: World, cluster: Cluster) -> None:
    """Cut the first owner off from all but the sidecars until a replica is promoted.

    The partitions are within reach from then on, although the old owner is cut off for longer: the
    sidecars have to leave it.
    """
    world.begin("owner isolated")
    for node in cluster.nodes:
        node.ask("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
    cluster.isolate()
    heir = await cluster.owned_by_another(cluster.owner)
    world.note(f"{heir.port} owns the slot")
    before = world.confirmed
    await eventually(lambda: world.confirmed >= before + CHANGES, LONG)
    world.note("changes are confirmed")


async def reunite(world: World, cluster: Cluster) -> None:
    """Let the first owner find the cluster again, after a time that no sidecar may wait for."""
    await asyncio.sleep(ALONE)
    world.note("the owner that was isolated is back")
    cluster.reunite()


async def kill(world: World, cluster: Cluster) -> None:
    """Kill the owner; start it again, empty, after a replica was promoted."""
    world.begin("owner killed")
    owner = await _owner(cluster)
    await asyncio.to_thread(owner.kill)
    heir = await cluster.owned_by_another(owner)
    world.note(f"{heir.port} owns the slot")
    await asyncio.to_thread(owner.start)
    world.note(f"{owner.port} was started again")


async def fail_over(world: World, cluster: Cluster, how: str) -> None:
    """Promote a replica of the owner. how: `TAKEOVER`, or "" for one in good order."""
    world.begin(f"failover {how}".rstrip())
    owner = await _owner(cluster)
    heir = next(node for node in cluster.shard_of(owner) if node is not owner)
    heir.ask("CLUSTER", "FAILOVER", *([how] if how else []))
    await asyncio.sleep(MOVES)


async def move(world: World, cluster: Cluster) -> None:
    """Move the slot to another primary in one step."""
    world.begin("slot moved at once")
    owner = await _owner(cluster)
    target = _another(world.dice, cluster, owner)
    move = ("SLOTSRANGE", cluster.slot, cluster.slot, "NODE", target.node_id)
    owner.ask("CLUSTER", "MIGRATESLOTS", *move)
    await asyncio.sleep(MOVES)


async def move_slowly(world: World, cluster: Cluster) -> None:
    """Move the slot to another primary, key by key, with a pause in the middle."""
    world.begin("slot moved key by key")
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
    world.begin("another shard lost")
    lost = _another(world.dice, cluster, await _owner(cluster))
    shard = cluster.shard_of(lost)
    async with world.loss_of(partitions_of(world.endpoint, lost)):
        for node in shard:
            node.pause()
        await asyncio.sleep(STOPPED)
        for node in shard:
            node.resume()
        await well(cluster)


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
    return [Hit(isolate, after=reunite), *others]


async def suffer(world: World, cluster: Cluster, hit: Hit) -> None:
    """Play a fault to its end. The other partitions have no outage.

    The outage ends with the fault. The time that sidecars need after it is `Bounds.settle`, once.
    """
    if hit.where == "other":
        await hit.play(world, cluster)
        return
    lost = frozenset({cluster.names.partition})
    if hit.where == "shard":
        lost = partitions_of(world.endpoint, await _owner(cluster))
    async with world.loss_of(lost):
        await hit.play(world, cluster)
        if hit.after is None:
            await well(cluster)
    world.note(f"the outage of the partitions {sorted(lost)} is over")
    if hit.after is not None:
        await hit.after(world, cluster)
        await well(cluster)


def partitions_of(endpoint: Endpoint, node: Node) -> frozenset[int]:
    """Return the numbers of the partitions whose slot a primary owns."""
    # By its id: a node behind a gate announces another port than its own.
    slots, own_id = node.ask("CLUSTER", "SLOTS"), node.node_id
    own = [range(first, last + 1) for first, last, owner, *_ in slots if owner[2] == own_id]
    return frozenset(
        one.partition
        for one in endpoint.partitions()
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
    taken, is_lost = now(), False
    while True:
        began, replicas = now(), 0
        with contextlib.suppress(RedisError, OSError, Fault):
            pipe = client.pipeline(transaction=False)
            pipe.set(name, 1)
            pipe.wait(1, WAIT_MS)
            replicas = (await pipe.execute())[1]
        if replicas and now() - began < LATE:
            if is_lost:
                world.note(f"partition {partition} takes writes again, after {now() - taken:.3f} s")
            taken, is_lost = now(), False
        else:
            world.lost(this, taken)
            is_lost = True
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
