"""Envoy Gateway on a real API server, and an Envoy as the pod that it describes would run it."""

import base64
import copy
import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from authz.cli.child_processes import ChildProcesses
from tests.mesh.cluster import Cluster
from tests.mesh.site import ORIGIN, Site
from tests.mesh.views import view
from tests.support.real import free_port

SYSTEM: Final = "envoy-gateway-system"
CLASS: Final = "gateway.envoyproxy.io/gatewayclass-controller"
OWNER: Final = "gateway.envoyproxy.io/owning-gateway-name=eg"
PORTS: Final = (8080, 8081, 18000, 18001, 18002)  # no setting of Envoy Gateway changes them
KUBERNETES: Final = {
    "leaderElection": {"disable": True},
    "proxyTopologyInjector": {"disabled": True},  # nothing here binds pods to nodes
}
# What the overlay asks for, and no metrics: Envoy's port for them is the same.
SETTINGS: Final[dict[str, Any]] = {
    "apiVersion": "gateway.envoyproxy.io/v1alpha1",
    "kind": "EnvoyGateway",
    "gateway": {"controllerName": CLASS},
    "provider": {"type": "Kubernetes", "kubernetes": KUBERNETES},
    "extensionApis": {"enableBackend": True, "enableEnvoyPatchPolicy": True},
    "telemetry": {"metrics": {"prometheus": {"disable": True}}},
}


@contextmanager
def running(program: Path, sources: Path, cluster: Cluster, directory: Path) -> Iterator[None]:
    """Install the CRDs, let Envoy Gateway make its certificates, and run it."""
    crds = sources / "charts" / "gateway-helm" / "charts" / "crds" / "crds"
    for file in sorted(crds.rglob("*.yaml")):
        found = [one for one in yaml.safe_load_all(file.read_text()) if one]
        cluster.apply(one for one in found if one["kind"] == "CustomResourceDefinition")
    cluster.namespace(SYSTEM)
    environment = cluster.environment | {"ENVOY_GATEWAY_NAMESPACE": SYSTEM}
    command = [str(program), "certgen", "--disable-topology-injector"]
    subprocess.run(
        command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    settings = directory / "envoy-gateway.yaml"
    own = {"admin": {"address": {"host": "127.0.0.1", "port": free_port()}}}
    settings.write_text(yaml.safe_dump(SETTINGS | own))
    root = directory / "gateway-view"
    root.mkdir()
    with ChildProcesses(environ=environment) as children:
        certificates = secret(cluster, "envoy-gateway", directory)
        command = [str(program), "server", "--config-path", str(settings)]
        children.spawn("envoy-gateway", view({"/certs": certificates}, command, root))
        try:
            yield
        finally:
            log = children.log("envoy-gateway")
            (directory / "envoy-gateway.log").write_bytes(log.read_bytes())


def secret(cluster: Cluster, name: str, directory: Path) -> Path:
    """Write the files of a Secret into a directory of its own, as a volume is."""
    place = directory / f"secret-{name}"
    place.mkdir()
    for file, content in cluster.get("secret", name, "--namespace", SYSTEM)["data"].items():
        (place / file).write_bytes(base64.b64decode(content))
    return place


def around(site: Site) -> list[dict[str, Any]]:
    """Return what a user of Envoy Gateway has: class, Gateway, backend and routes."""
    api, ours = "gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1alpha1"
    proxy = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "authz"}
    back = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "backend"}
    listener = {"name": "http", "protocol": "HTTP", "port": site.gateway}
    there = {"fqdn": {"hostname": "backend.localhost", "port": site.backend}}
    cors = {"allowOrigins": [ORIGIN], "allowMethods": ["GET"]}
    route = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "cors"}
    return [
        _object(api, "GatewayClass", "eg", {"controllerName": CLASS}),
        _object(
            api,
            "Gateway",
            "eg",
            {
                "gatewayClassName": "eg",
                "infrastructure": {"parametersRef": proxy},
                "listeners": [listener],
            },
        ),
        _object(ours, "Backend", "backend", {"endpoints": [there]}),
        *(_route(name, path, back) for name, path in (("all", "/"), ("cors", "/cors"))),
        _object(
            ours,
            "SecurityPolicy",
            "cors",
            {"targetRefs": [route], "mergeType": "StrategicMerge", "cors": cors},
        ),
    ]


def deployment(cluster: Cluster) -> dict[str, Any] | None:
    """Return the Deployment that Envoy Gateway has made for the Gateway, or None."""
    words = ("deployment", "--namespace", SYSTEM, "--selector", OWNER)
    found = cluster.get(*words)["items"]
    return found[0] if found else None


def as_a_pod(
    made: dict[str, Any], cluster: Cluster, site: Site, envoy: str, directory: Path
) -> list[str]:
    """Return the command of the Envoy in this Deployment, with its volumes."""
    pod = made["spec"]["template"]["spec"]
    (container,) = (one for one in pod["containers"] if one["name"] == "envoy")
    words = [word.replace("$(ENVOY_POD_NAME)", "eg-1") for word in container["args"]]
    place = words.index("--config-yaml") + 1
    words[place] = json.dumps(here(words[place], site))
    words += ["--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "200"]
    sds = directory / "sds"
    sds.mkdir()
    found = cluster.get("configmap", made["metadata"]["name"], "--namespace", SYSTEM)
    for name, content in found["data"].items():
        (sds / name).write_text(content)
    places = {"/certs": secret(cluster, "envoy", directory), "/sds": sds}
    root = directory / "envoy-view"
    root.mkdir()
    return view(places | {"/run/authz": site.directory}, [envoy, *words], root)


def here(text: str, site: Site) -> dict[str, Any]:
    """Return the bootstrap with the addresses of this site: no DNS of the cluster answers here."""
    found = yaml.safe_load(text.replace("$(ENVOY_SERVICE_ZONE)", "zone"))
    found["admin"]["address"]["socket_address"]["port_value"] = site.admin
    resources = found["static_resources"]
    resources["listeners"] = []  # for metrics, on a fixed port
    (xds,) = (one for one in resources["clusters"] if one["name"] == "xds_cluster")
    for group in xds["load_assignment"]["endpoints"]:
        for endpoint in group["lb_endpoints"]:
            endpoint["endpoint"]["address"]["socket_address"]["address"] = "127.0.0.1"
    return dict(found)


def _route(name: str, path: str, backend: dict[str, Any]) -> dict[str, Any]:
    match = {"path": {"type": "PathPrefix", "value": path}}
    spec = {
        "parentRefs": [{"name": "eg"}],
        "rules": [{"matches": [match], "backendRefs": [backend]}],
    }
    return _object("gateway.networking.k8s.io/v1", "HTTPRoute", name, spec)


def _object(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name} if kind == "GatewayClass" else {"name": name, "namespace": SYSTEM}
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": copy.deepcopy(spec)}


def conditions(cluster: Cluster, kinds: Iterable[str]) -> list[str]:
    """Return each policy that is not accepted or not programmed, with the message."""
    faults = []
    for one in cluster.get(",".join(kinds), "--namespace", SYSTEM)["items"]:
        ancestors = one.get("status", {}).get("ancestors", ())
        said = [entry for ancestor in ancestors for entry in ancestor["conditions"]]
        said += one.get("status", {}).get("conditions", ())
        wanted = {"Accepted"} | ({"Programmed"} if one["kind"] == "EnvoyPatchPolicy" else set())
        name = f"{one['kind']}/{one['metadata']['name']}"
        missing = wanted - {entry["type"] for entry in said}
        faults += [f"{name}: no {kind}" for kind in sorted(missing)]
        faults += [
            f"{name}: {entry['type']}: {entry['message']}"
            for entry in said
            if entry["type"] in wanted and entry["status"] != "True"
        ]
    return faults
