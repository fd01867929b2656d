"""The probes of our overlay in Istio."""

import json
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import yaml

from tests.mesh import admission, istio, probes, site
from tests.mesh.cluster import Cluster
from tests.mesh.probes import awaited, identity
from tests.mesh.programs import ISTIOD
from tests.mesh.receiver import Receiver, receiving
from tests.mesh.rows import Row
from tests.support.deploy.helm import SETS, rendered
from tests.support.deploy.manifests import built

NAMESPACE: Final = "istio-ingress"
STRANGER: Final = "stranger"
OLDER, NEWER = "older.example.com", "newer.example.com"


def by_overlay(cluster: Cluster, directory: Path) -> Iterator[Row]:
    """Install Istio and the overlay, and yield the rows of every probe, and of the control."""
    yield from probed(cluster, directory, built("istio"), istio.providers(), control=True)


def by_chart(cluster: Cluster, directory: Path) -> Iterator[Row]:
    """Install Istio and the chart, and yield the rows of every probe."""
    objects = rendered({**SETS["istio"], "meter": {"mode": "pod"}}, namespace=NAMESPACE)
    (mesh,) = (one["data"]["mesh.yaml"] for one in objects if "mesh.yaml" in one.get("data", {}))
    providers = yaml.safe_load(mesh)["meshConfig"]["extensionProviders"]
    yield from probed(cluster, directory, objects, providers)


def probed(
    cluster: Cluster,
    directory: Path,
    shipped: Sequence[Any],
    providers: list[Any],
    *,
    control: bool = False,
) -> Iterator[Row]:
    """Install Istio with these providers, then these objects. Yield the rows of every probe.

    control: also of `taken_over`.
    """
    program = ISTIOD.find()
    assert program is not None
    with (
        istio.running(program, ISTIOD.sources(), cluster, directory, providers) as istiod,
        site.running(directory) as ours,
        receiving(f"{directory}/stranger.sock") as caught,
    ):
        yield awaited("all objects are accepted", "yes", lambda: _accepted(cluster, shipped))
        cluster.namespace(STRANGER)
        claims = istio.stranger(f"{directory}/stranger.sock", OLDER)
        cluster.apply([claims], "--namespace", STRANGER)
        time.sleep(1.1)  # creation times are whole seconds
        cluster.apply(istio.here(shipped, ours), "--namespace", NAMESPACE)
        gateway = _gateway(shipped)
        name = gateway["metadata"]["name"]
        cluster.apply(istio.backend(ours, name), "--namespace", NAMESPACE)
        yield from injected(cluster, shipped, name)
        labels = dict(gateway["spec"]["template"]["metadata"]["labels"])
        bootstrap = istio.bootstrap(istiod, ours, NAMESPACE, labels)
        with site.envoy(ours, bootstrap) as log:
            yield from apart(ours, caught, OLDER, "older")
            if control:
                yield from taken_over(cluster, ours, caught)
            yield from probes.requests(ours, log)
            yield from probes.cors(ours)
            yield probes.unasked(ours)
            yield probes.doctor(ours)
            cluster.kubectl("--namespace", STRANGER, "delete", "serviceentry", "authz")
            claims = istio.stranger(f"{directory}/stranger.sock", NEWER)
            cluster.apply([claims], "--namespace", STRANGER)
            yield from apart(ours, caught, NEWER, "newer")
            yield from probes.faults(ours)


def apart(ours: site.Site, caught: Receiver, marker: str, age: str) -> Iterator[Row]:
    """Yield whether Checks reach only our sidecar beside a stranger's ServiceEntry."""
    name = f"a stranger's {age} ServiceEntry"
    yield awaited(f"{name} is known to Envoy", "yes", lambda: _known(ours, marker))
    wanted = "200 acme without the key"
    yield awaited(f"{name}: a good key", wanted, lambda: identity(ours.ask(ours.key())))
    yield awaited(f"{name}: no key", "401 missing_api_key", ours.ask)
    yield Row(f"{name}: Checks that it got", "0", str(caught.calls))


def taken_over(cluster: Cluster, ours: site.Site, caught: Receiver) -> Iterator[Row]:
    """Yield whether an older stranger gets our Checks without `exportTo`, so that `apart` can fail.

    Afterwards `exportTo` is there again, and the stranger has got no Check.
    """
    name = "without exportTo: a stranger's older ServiceEntry"
    entry = ("--namespace", NAMESPACE, "patch", "serviceentry", "authz", "--type", "json")
    remove, add = ({"op": op, "path": "/spec/exportTo"} for op in ("remove", "add"))
    cluster.kubectl(*entry, "--patch", json.dumps([remove]))
    yield awaited(f"{name}: no key", "200", ours.ask)
    yield Row(f"{name}: Checks that it got", "some", "some" if caught.calls else "none")
    cluster.kubectl(*entry, "--patch", json.dumps([add | {"value": ["."]}]))
    yield awaited("with exportTo again: no key", "401 missing_api_key", ours.ask)
    caught.calls = 0


def injected(cluster: Cluster, shipped: Any, gateway: str) -> Iterator[Row]:
    """Yield whether the injected pod passes the admission, with the probes of the sidecar."""
    (pod,) = (one for one in admission.pods(shipped) if one["metadata"]["name"] == gateway)
    words = ("--namespace", NAMESPACE, "create", "--dry-run=server", "-o", "json", "-f", "-")

    def look() -> str:
        done = cluster.kubectl(*words, objects=[pod])
        if done.returncode:
            return done.stderr.strip()[:300]
        spec = json.loads(done.stdout)["spec"]
        images = {one["name"]: one["image"] for one in spec["containers"]}
        if images["istio-proxy"] == "auto":
            return "not injected"
        (sidecar,) = (one for one in spec["initContainers"] if one["name"] == "authz")
        kinds = {sidecar[f"{kind}Probe"].keys() >= {"grpc"} for kind in KINDS}
        return "injected, grpc probes" if kinds == {True} else "injected, other probes"

    yield awaited("the injected pod is restricted", "injected, grpc probes", look)
    yield from (
        row for row in admission.admitted(cluster, shipped, NAMESPACE) if gateway not in row.name
    )
    yield admission.refused(cluster, NAMESPACE)


KINDS: Final = ("startup", "readiness", "liveness")


def _accepted(cluster: Cluster, shipped: Any) -> str:
    """Return whether the API server takes the objects as shipped."""
    cluster.apply([admission.enforced(NAMESPACE)])
    cluster.account(NAMESPACE)
    words = ("--namespace", NAMESPACE, "apply", "--server-side", "--dry-run=server", "-f", "-")
    done = cluster.kubectl(*words, objects=shipped)
    return "yes" if done.returncode == 0 else done.stderr.strip()[:300]


def _gateway(shipped: Any) -> dict[str, Any]:
    """Return the Deployment of the gateway."""
    (found,) = (
        one
        for one in shipped
        if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("gateway")
    )
    return dict(found)


def _known(ours: site.Site, host: str) -> str:
    connection = HTTPConnection("127.0.0.1", ours.admin, timeout=20)
    connection.request("GET", "/clusters")
    return "yes" if host in connection.getresponse().read().decode() else "no"
