"""While the node of a link is doubtful, the other nodes are asked for the owner of the slot."""

import asyncio

from authz.storage import heartbeats, owner_watch
from authz.storage.crowd import Crowd
from authz.storage.owner_watch import ANOTHER, watch_owner
from authz.storage.replication import Replication
from tests.support.cluster import Cluster
from tests.support.real import eventually
from tests.support.storage.sidecar import Sidecar, administration


async def test_the_owner_is_looked_for_only_in_doubt(monkeypatch):
    """A link to another node than the owner ends, once there is doubt; one to the owner stays."""
    monkeypatch.setattr(owner_watch, "LOOK_SECONDS", 0.001)
    async with Cluster() as cluster:
        doubts, asked = [False, False, True], []

        def is_doubtful():
            asked.append(doubts.pop(0))
            return asked[-1]

        where = cluster.endpoint
        lost = asyncio.Event()
        link = await where.open(lambda: where.link(lambda _push: None, lost.set))
        assert not await where.is_owned_elsewhere(link)
        await cluster.fail_over()
        await eventually(lambda: where.is_owned_elsewhere(link))
        await watch_owner(link, where, Crowd(), is_doubtful)
        assert asked == [False, False, True]
        assert link.fault == ANOTHER
        assert lost.is_set()


async def test_a_primary_that_is_cut_off_is_left_at_once(monkeypatch):
    """The sidecar follows the new owner although the old one keeps the link open."""
    monkeypatch.setattr(heartbeats, "REFUSED_SECONDS", 1e9)
    monkeypatch.setattr(Replication, "is_overdue", lambda _self, _now: False)
    async with (
        Cluster(replicas=2, is_gated=True) as cluster,
        administration(cluster.endpoint),
        Sidecar(cluster.endpoint) as sidecar,
    ):
        await sidecar.trusted()
        await eventually(lambda: all(node.ask("DBSIZE") for node in cluster.replicas))
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
        cluster.isolate()
        await sidecar.untrusted()
        await cluster.owned_by_another(cluster.owner)
        await sidecar.trusted()
