"""The probes of the overlay with an Envoy of its own, whose file comes out of the API server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.mesh import probes, site
from tests.mesh.cluster import Cluster
from tests.mesh.rows import Row
from tests.support.deploy.manifests import built

NAMESPACE: Final = "authz"


def probed(cluster: Cluster, directory: Path) -> Iterator[Row]:
    """Apply the overlay, run Envoy with its ConfigMap, and yield the rows of every probe."""
    shipped = built("standalone")
    cluster.apply(one for one in shipped if one["kind"] == "Namespace")
    cluster.apply(shipped)
    maps = cluster.get("configmap", "--namespace", NAMESPACE)["items"]
    (text,) = (one["data"]["envoy.yaml"] for one in maps if "envoy.yaml" in one["data"])
    with site.running(directory) as ours, site.envoy(ours, here(text, ours)) as log:
        yield from probes.requests(ours, log)
        yield probes.unasked(ours)
        yield probes.doctor(ours)
        yield from probes.faults(ours)


def here(text: str, ours: site.Site) -> dict[str, Any]:
    """Return the configuration with the sockets and ports of this site."""
    found = yaml.safe_load(text)
    resources = found["static_resources"]
    found["admin"]["address"]["socket_address"]["port_value"] = ours.admin
    where = {"address": "127.0.0.1", "port_value": ours.gateway}
    resources["listeners"][0]["address"]["socket_address"] = where
    for one in resources["clusters"]:
        (group,) = one["load_assignment"]["endpoints"]
        for endpoint in group["lb_endpoints"]:
            address = endpoint["endpoint"]["address"]
            if "pipe" in address:
                name = Path(address["pipe"]["path"]).name
                address["pipe"]["path"] = f"{ours.directory}/{name}"
            elif one["name"] == "backend":
                one["type"] = "STATIC"
                address["socket_address"] = {"address": "127.0.0.1", "port_value": ours.backend}
    return found
