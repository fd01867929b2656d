"""The fault that adds a shard to a cluster, gives it our slot, and removes it again."""

import asyncio

from tests.chaos.world import World
from tests.support.cluster import Cluster, Node
from tests.support.real import eventually

LONG = 60.0  # seconds that a cluster may need on a busy machine
USED = 3.0  # seconds for which the new shard has our slot


async def add_and_remove(world: World, cluster: Cluster) -> None:
    """Add a primary and its replica, move the slot there and back, and remove both."""
    world.begin("node added and removed")
    nodes = list(cluster.nodes)
    added, replica = [await asyncio.to_thread(cluster.start_node) for _ in range(2)]
    for node in (added, replica):
        cluster.introduce(node)
    await eventually(lambda: asyncio.to_thread(_know_all, nodes, len(cluster.nodes)), LONG)
    await eventually(lambda: replica.ask("CLUSTER", "REPLICATE", added.node_id) == "OK", LONG)
    await eventually(lambda: _has_replica(added), LONG)
    owner = await cluster.owned_by_another()
    await _move(cluster, owner, added)
    world.note(f"{added.port} owns the slot")
    await asyncio.sleep(USED)
    # The former owner may have lost its place to a replica meanwhile.
    heirs = [node for node in cluster.shard_of(owner) if node.is_primary]
    await _move(cluster, added, heirs[0])
    world.note(f"{heirs[0].port} owns the slot")
    await _remove(cluster, added, replica)


async def _move(cluster: Cluster, source: Node, target: Node) -> None:
    await cluster.move_slot(source, target)
    command = ("CLUSTER", "SETSLOT", cluster.slot, "NODE", target.node_id)
    await asyncio.to_thread(source.ask, *command)  # it is none of the first primaries
    await eventually(lambda: target.owns_slot, LONG)


async def _remove(cluster: Cluster, *gone: Node) -> None:
    """Make all others forget these nodes, and end them."""
    ids = [node.node_id for node in gone]
    for node in gone:
        cluster.nodes.remove(node)
    for node in cluster.nodes:
        for one in ids:
            node.ask("CLUSTER", "FORGET", one)
    for node in reversed(gone):
        node.ask("CLUSTER", "RESET", "HARD")
    await asyncio.sleep(USED)  # connections to them stay open, and say that no node has the slot
    for node in gone:
        await asyncio.to_thread(node.kill)


def _know_all(nodes: list[Node], members: int) -> bool:
    return all(str(node.ask("CLUSTER", "NODES")).count("connected") == members for node in nodes)


def _has_replica(node: Node) -> bool:
    found = node.admin.info("replication")
    return found["connected_slaves"] > 0 and found["slave0"]["state"] == "online"
