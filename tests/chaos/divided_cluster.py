"""The cluster of an episode, and the servers that take turns."""

import itertools
import random
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from authz.storage.schema import Names
from tests.chaos.clusters import well
from tests.support.cluster import Cluster

NODE_TIMEOUT_MS = 4000  # with many servers: a busy machine delays some of them by a second
PACKAGED = ""  # the Valkey of the wheel
DEBIAN = "redis-server"


def servers_of(given: str | None) -> list[str]:
    """Return the programs of a run: the given one, else the packaged Valkey and Debian's Redis.

    Without redis-server on the PATH only Valkey remains.
    """
    if given:
        return [given]
    return [PACKAGED] + [DEBIAN] * (shutil.which(DEBIAN) is not None)


def servers_in_turn(servers: Sequence[str], kinds: int) -> Iterator[str]:
    """Yield a server for each episode, without an end. kinds: of episodes, which alternate.

    After one episode of each kind the servers shift by one, so that each meets each kind.
    """
    for played in itertools.count():
        turn, at = divmod(played, kinds)
        yield servers[(turn + at) % len(servers)]


@asynccontextmanager
async def divided_cluster(
    dice: random.Random, partitions: int, server: str
) -> AsyncIterator[tuple[Cluster, list[Names]]]:
    """Run a cluster for so many partitions. Yield it and the names of each partition.

    With several partitions each fault hits another one, and each primary has one replica. The shard
    that is cut off has two: else nothing would confirm changes by its new primary.
    """
    places = [
        Names(is_clustered=True, partition=n, partitions=partitions) for n in range(partitions)
    ]
    shape = {"replicas": 1, "spare": 1} if partitions > 1 else {"replicas": 2}
    patience = ("--cluster-node-timeout", str(NODE_TIMEOUT_MS))
    names = dice.choice(places)
    async with Cluster(*patience, **shape, is_gated=True, names=names, binary=server) as cluster:
        for spare in cluster.spare:
            spare.ask("CLUSTER", "REPLICATE", cluster.owner.node_id)
        await well(cluster)
        yield cluster, places
