"""The pods of our manifests before the admission of a real API server."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tests.mesh.cluster import Cluster, namespace
from tests.mesh.rows import Row
from tests.support.deploy.manifests import makers

RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}


def enforced(place: str) -> dict[str, Any]:
    """Return a Namespace in which the admission is in force."""
    return namespace(place, **RESTRICTED)


def pods(objects: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a Pod for each Deployment and StatefulSet, as its controller would make it."""
    for maker in makers(objects):
        template = copy.deepcopy(maker["spec"]["template"])
        meta = template.get("metadata", {}) | {"name": maker["metadata"]["name"]}
        claims = maker["spec"].get("volumeClaimTemplates", ())
        volumes = template["spec"].setdefault("volumes", [])
        volumes += [{"name": one["metadata"]["name"], "emptyDir": {}} for one in claims]
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


def admitted(cluster: Cluster, objects: Iterable[dict[str, Any]], namespace: str) -> Iterator[Row]:
    """Yield a row for each pod: PodSecurity `restricted` admits it, or the reason it does not."""
    for pod in pods(objects):
        words = ("--namespace", namespace, "create", "--dry-run=server", "-f", "-")
        done = cluster.kubectl(*words, objects=[pod])
        seen = "admitted" if done.returncode == 0 else done.stderr.strip()[:300]
        yield Row(f"pod {pod['metadata']['name']} is restricted", "admitted", seen)


def refused(cluster: Cluster, namespace: str) -> Row:
    """Return whether a pod that is not restricted is refused, so that the admission is in force."""
    loose = {"containers": [{"name": "x", "image": "x"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loose"}, "spec": loose}
    words = ("--namespace", namespace, "create", "--dry-run=server", "-f", "-")
    done = cluster.kubectl(*words, objects=[pod])
    seen = "refused" if "violates PodSecurity" in done.stderr else done.stderr or "admitted"
    return Row("a pod that may run as root", "refused", seen)
