"""Our overlay for Istio on a real API server, as istiod makes of it what Envoy gets."""

import copy
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from authz.cli.child_processes import ChildProcesses
from tests.mesh.cluster import Cluster
from tests.mesh.site import ORIGIN, Site
from tests.support.deploy.manifests import K8S
from tests.support.real import free_port

SYSTEM: Final = "istio-system"
# Envoy's own build lacks Istio's filters, and nothing here has a certificate of the mesh.
PLAIN: Final = {"PILOT_ENABLE_ALPN_FILTER": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false"}
MESH: Final = {"enableAutoMtls": False, "defaultProviders": None}


class Istiod:
    """A running istiod. xds: its plaintext port."""

    def __init__(self, xds: int) -> None:
        self.xds = xds


@contextmanager
def running(
    program: Path, sources: Path, cluster: Cluster, directory: Path, providers: list[Any]
) -> Iterator[Istiod]:
    """Install Istio's chart as its users do, with these extension providers, and run istiod."""
    xds, hooks = free_port(), free_port()
    charts = sources / "manifests" / "charts"
    crds = yaml.safe_load_all((charts / "base/files/crd-all.gen.yaml").read_text())
    cluster.apply(one for one in crds if one)
    cluster.namespace(SYSTEM)
    mesh = {"meshConfig": {**MESH, "extensionProviders": providers}}
    installed = rendered(charts / "istio-control" / "istio-discovery", mesh)
    kept = [one for one in installed if one["kind"] not in UNUSED]
    for one in kept:
        for hook in one.get("webhooks", ()) if one["kind"].startswith("Mutating") else ():
            path = hook["clientConfig"].pop("service")["path"]  # no Service leads to this process
            hook["clientConfig"]["url"] = f"https://localhost:{hooks}{path}"
    cluster.apply(kept)
    own = {"POD_NAMESPACE": SYSTEM, "POD_NAME": "istiod", "REVISION": "default"}
    own |= {"ISTIOD_CUSTOM_HOST": "localhost", "HOME": str(directory), **PLAIN}
    with ChildProcesses(environ=own) as children:
        command = [str(program), "discovery", "--kubeconfig", str(cluster.kubeconfig)]
        command += ["--clusterID", "Kubernetes", "--grpcAddr", f"127.0.0.1:{xds}"]
        command += ["--httpAddr", f"127.0.0.1:{free_port()}"]
        command += ["--httpsAddr", f"127.0.0.1:{hooks}"]
        command += ["--secureGRPCAddr", f"127.0.0.1:{free_port()}"]
        command += ["--monitoringAddr", f"127.0.0.1:{free_port()}", "--ctrlz_port", "0"]
        children.spawn("istiod", command)
        yield Istiod(xds)


# The first has no kubelet to run it. Without the last no object waits for istiod to be valid: its
# certificate is that of a Service.
UNUSED: Final = {"Deployment", "HorizontalPodAutoscaler", "ValidatingWebhookConfiguration"}


def rendered(chart: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of Istio's chart."""
    command = ["helm", "template", "istiod", str(chart), "--namespace", SYSTEM]
    command += ["--kube-version", "1.36", "--values", "-"]
    text = yaml.safe_dump(values)
    done = subprocess.run(
        command, check=True, input=text, capture_output=True, text=True, timeout=60
    )
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def providers() -> list[Any]:
    """Return the extension providers of mesh.yaml."""
    mesh = yaml.safe_load((K8S / "overlays/istio/mesh.yaml").read_text())
    return list(mesh["meshConfig"]["extensionProviders"])


def here(objects: Iterable[dict[str, Any]], site: Site) -> list[dict[str, Any]]:
    """Return the objects with the sockets and the port of this site."""
    found = copy.deepcopy(list(objects))
    for one in found:
        if one["kind"] == "ServiceEntry":
            for endpoint in one["spec"]["endpoints"]:
                name = endpoint["address"].rpartition("/")[2]
                endpoint["address"] = f"unix://{site.directory}/{name}"
        if one["kind"] == "Gateway":
            for server in one["spec"]["servers"]:
                server["port"]["number"] = site.gateway
    return found


def backend(site: Site, name: str) -> list[dict[str, Any]]:
    """Return the backend as a ServiceEntry, and its routes. /cors has a CORS policy."""
    route = [{"destination": {"host": "backend.local", "port": {"number": 80}}}]
    cors = {"allowOrigins": [{"exact": ORIGIN}], "allowMethods": ["GET"]}
    entry = {
        "hosts": ["backend.local"],
        "resolution": "STATIC",
        "location": "MESH_INTERNAL",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [{"address": "127.0.0.1", "ports": {"http": site.backend}}],
    }
    routes = {
        "hosts": ["*"],
        "gateways": [name],
        "http": [
            {"match": [{"uri": {"prefix": "/cors"}}], "route": route, "corsPolicy": cors},
            {"route": route},
        ],
    }
    return [_own("ServiceEntry", "backend", entry), _own("VirtualService", "backend", routes)]


def stranger(path: str, marker: str) -> dict[str, Any]:
    """Return a ServiceEntry that claims our host. marker: a second host, to see it arrive."""
    entry = {
        "hosts": ["authz.local", marker],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 9191, "name": "grpc", "protocol": "GRPC"}],
        "endpoints": [{"address": f"unix://{path}"}],
    }
    return _own("ServiceEntry", "authz", entry)


def bootstrap(istiod: Istiod, site: Site, namespace: str, labels: dict[str, str]) -> dict[str, Any]:
    """Return Envoy's bootstrap as a gateway of the mesh has it, with plaintext to istiod."""
    node = {
        "id": f"router~10.0.0.1~gateway-1.{namespace}~{namespace}.svc.cluster.local",
        "cluster": f"gateway.{namespace}",
        "metadata": {
            "NAMESPACE": namespace,
            "LABELS": labels,
            "CLUSTER_ID": "Kubernetes",
            "ISTIO_VERSION": "1.31.0",
            "SERVICE_ACCOUNT": "authz",
            "PROXY_CONFIG": {"gatewayTopology": {"numTrustedProxies": 0}},
        },
    }
    there = {"socket_address": {"address": "127.0.0.1", "port_value": istiod.xds}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "node": node,
        "admin": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": site.admin}}
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds-grpc",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        options: {
                            "@type": f"type.googleapis.com/{options}",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "xds-grpc",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": there}}]}],
                    },
                }
            ]
        },
    }


def _own(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    version = "networking.istio.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
