"""The faults of a cluster know which partitions they hit."""

from authz.storage.endpoint import Endpoint
from tests.chaos.clusters import partitions_of
from tests.support.cluster import Cluster


async def test_each_partition_has_an_owner():
    """A primary that announces another port than its own has its partitions, too."""
    async with Cluster(is_gated=True) as cluster:
        endpoint = Endpoint.parse(cluster.url, partitions=8)
        found = [partitions_of(endpoint, node) for node in cluster.primaries]

        assert sorted(number for one in found for number in one) == list(range(8))
