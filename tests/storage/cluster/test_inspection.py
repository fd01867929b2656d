"""Findings about a cluster, and functions on a node that becomes the owner."""

from authz.core.finding import Level
from authz.process.clock import SystemClock
from authz.storage.inspection.cluster import cluster_problems
from authz.storage.meta_watch import MetaWatch
from tests.support.cluster import Cluster
from tests.support.fakes import make_keyring
from tests.support.real import eventually
from tests.support.storage.inspection import report
from tests.support.storage.sidecar import administration


async def test_cluster_that_fits():
    """A cluster with two replicas, AOF and the right settings has no problem."""
    async with Cluster("--appendonly", "yes", replicas=2) as cluster:
        async with administration(cluster.endpoint) as admin:
            assert await cluster_problems(admin.store._client) == []
            assert await admin.store.load_functions() == ""
        found = await report(cluster.endpoint, has_replicas=True)
        assert found["cluster"].level is Level.OK
        assert found["functions"].level is Level.OK


async def test_cluster_that_lacks_something():
    """Each setting that does not fit is named with its remedy, and so is a missing replica."""
    async with Cluster() as cluster:
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")
            node.ask("CONFIG", "SET", "cluster-allow-reads-when-down", "yes")
        async with administration(cluster.endpoint) as admin:
            found = await cluster_problems(admin.store._client)
            assert [problem.split(" is ")[0] for problem in found[:3]] == [
                "cluster-require-full-coverage",
                "cluster-allow-reads-when-down",
                "appendonly",
            ]
            assert "1 replica" in found[3]
        findings = await report(cluster.endpoint, has_replicas=True)
        assert findings["cluster"].level is Level.WARN
        assert findings["replication"].level is Level.OK


async def test_cluster_that_is_not_whole():
    """Slots without an owner are a failure, also if ours has one."""
    async with Cluster() as cluster:
        for node in cluster.nodes:
            node.ask("CLUSTER", "DELSLOTS", 1)
        async with administration(cluster.endpoint):
            pass
        found = await report(cluster.endpoint, has_replicas=True)
        assert found["cluster"].level is Level.FAIL
        assert found["cluster"].found == "slots without an owner: 1"


async def test_functions_follow_the_slot():
    """`authz admin` loads the functions on a node that becomes the owner."""
    async with Cluster(spare=1) as cluster, administration(cluster.endpoint) as admin:
        [target] = cluster.spare
        client = admin.store._client
        watch = MetaWatch(client, SystemClock(), make_keyring().fingerprints, ())
        await watch.look()
        await watch._functions.follow()
        assert len(cluster.owner.admin.execute_command("FUNCTION", "LIST")) == 3
        await cluster.move_slot(cluster.owner, target)

        async def loaded():
            await watch.look()
            await watch._functions.follow()
            return len(target.admin.execute_command("FUNCTION", "LIST")) == 3

        await eventually(loaded)
