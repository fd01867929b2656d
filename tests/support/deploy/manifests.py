"""The manifests under deploy/k8s, rendered by `kubectl kustomize`."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parents[3] / "deploy" / "k8s"
OVERLAYS = ("standalone", "istio", "gateway")
METER = "meter"  # a kustomization beside an installation
OLDEST = "1.29"  # the first version with native sidecars enabled by default

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="needs kubectl: Debian's package kubernetes-client"
)


@cache
def built(overlay: str) -> tuple[dict[str, Any], ...]:
    """Return every object of an overlay."""
    place = K8S / overlay if overlay == METER else K8S / "overlays" / overlay
    command = ["kubectl", "kustomize", str(place)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, kind: str) -> Iterator[dict[str, Any]]:
    """Return the objects of one kind."""
    return (found for found in built(overlay) if found["kind"] == kind)


def one(overlay: str, kind: str, name: str) -> dict[str, Any]:
    """Return the object of this name, else the one whose name begins with it and has a hash."""
    named = {found["metadata"]["name"]: found for found in of_kind(overlay, kind)}
    if name in named:
        return named[name]
    (found,) = (found for full, found in named.items() if full.startswith(name))
    return found


def makers(objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the Deployments and StatefulSets."""
    return [found for found in objects if found["kind"] in ("Deployment", "StatefulSet")]


def pods_of(objects: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the spec of every pod by the name of its Deployment or StatefulSet."""
    found = makers(objects)
    return {maker["metadata"]["name"]: maker["spec"]["template"]["spec"] for maker in found}


def pods(overlay: str) -> dict[str, dict[str, Any]]:
    """Return the spec of every pod of an overlay by the name of its Deployment or StatefulSet."""
    return pods_of(built(overlay))


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod, sidecars included."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def settings(overlay: str, name: str) -> str:
    """Return a settings file of the ConfigMap."""
    return one(overlay, "ConfigMap", "authz-settings")["data"][name]


def proxies_of(objects: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the spec of the pods that an EnvoyProxy patches, by its kind."""
    return {
        found["kind"]: found["spec"]["provider"]["kubernetes"]["envoyDeployment"]["patch"]["value"][
            "spec"
        ]["template"]["spec"]
        for found in objects
        if found["kind"] == "EnvoyProxy"
    }
