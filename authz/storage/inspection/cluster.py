"""Checks of a cluster: whether all of it works, and whether its settings suit sidecars."""

from typing import Final

import redis.asyncio

from authz.core.errors import Unavailable
from authz.core.finding import Finding, fail, ok, warn
from authz.storage.cluster import SLOTS, read_slots
from authz.storage.cluster_client import ClusterClient
from authz.storage.inspection.store import Store
from authz.storage.replies import checked

# Of each setting: the value that it needs, and the harm of another one.
NEEDED: Final = {
    "cluster-require-full-coverage": ("no", "the loss of another shard stops ours"),
    "cluster-allow-reads-when-down": ("no", "a node that is cut off answers reads for ever"),
    "appendonly": ("yes", "a primary that restarts at once loses all keys, its replicas too"),
}
REPLICAS: Final = 2


async def cluster(store: Store) -> Finding:
    """Check that each slot has an owner, and that the settings of a cluster suit sidecars.

    Failure if a slot has no owner, else a warning about the problems. Raises Unavailable, also for
    a single store.
    """
    client = store.client
    if not isinstance(client, ClusterClient):
        raise Unavailable("the store is no cluster")
    reply = await checked(client.execute_command("CLUSTER", "SLOTS"))
    slots = read_slots(reply, await client.find())
    missing = SLOTS - sum(len(one) for one, _ in slots)
    if missing:
        return fail("cluster", f"slots without an owner: {missing}", "look at CLUSTER NODES")
    problems = await cluster_problems(client)
    if problems:
        problem, _, advice = problems[0].partition("; ")
        more = f"; {len(problems) - 1} more: {'; '.join(problems[1:])}" if problems[1:] else ""
        return warn("cluster", problem, advice + more)
    return ok("cluster", f"{len({nodes[0] for _, nodes in slots})} primaries, settings fit")


async def cluster_problems(client: redis.asyncio.Redis) -> list[str]:
    """Return what the node of our slot lacks, each with its remedy; nothing for a single store.

    A setting that our user may not read counts as a problem, too. Raises Unavailable.
    """
    if not isinstance(client, ClusterClient):
        return []
    problems = []
    for name, (wanted, harm) in NEEDED.items():
        try:
            found = (await checked(client.config_get(name))).get(name, wanted)
        except Unavailable:
            problems.append(f"{name} cannot be read; see that it is {wanted}")
            continue
        if found != wanted:
            problems.append(f"{name} is {found}: {harm}; set it to {wanted}")
    count = (await checked(client.info("replication"))).get("connected_slaves", 0)
    if count < REPLICAS:
        harm = "after a failover nothing is trusted before a replica joins"
        found = "1 replica" if count else "no replica"
        problems.append(f"our primary has {found}: {harm}; run {REPLICAS}")
    return problems
