"""Standards that hold for rendered objects, whether kustomize or Helm rendered them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate

from authz.settings import model
from tests.support.deploy.manifests import K8S, containers, makers, pods_of, proxies_of

Objects = Sequence[dict[str, Any]]

# API groups without a schema in kubernetes-validate.
OTHERS = ("istio.io", "gateway.envoyproxy.io", "monitoring.coreos.com")
OWNER = "gateway.envoyproxy.io/owning-gateway-name"


def are_valid(objects: Objects, version: str) -> None:
    """Every object of Kubernetes fits the strict schema of this version."""
    own = [o for o in objects if not o["apiVersion"].split("/")[0].endswith(OTHERS)]
    assert len(own) >= 4
    for found in own:
        kubernetes_validate.validate(found, version, strict=True)


def are_restricted(objects: Objects) -> None:
    """Every pod fits PodSecurity `restricted` and has a read-only root."""
    for name, pod in (pods_of(objects) | proxies_of(objects)).items():
        if name != "EnvoyProxy":  # Envoy Gateway sets it
            assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            if "image" not in container:  # a patch of a container that Envoy Gateway restricts
                continue
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "latest" not in container["image"]


def policies(objects: Objects) -> list[dict[str, Any]]:
    """Return the spec of every NetworkPolicy."""
    return [found["spec"] for found in objects if found["kind"] == "NetworkPolicy"]


def have_numbered_ports(objects: Objects, outside: set[int]) -> None:
    """NetworkPolicies name ports by number, and only such on which a container listens.

    `outside`: ports of other pods, and those that a mesh adds.
    """
    numbers = set()
    for policy in policies(objects):
        rules = [*policy["ingress"], *policy.get("egress", ())]
        numbers |= {port["port"] for rule in rules for port in rule["ports"]}
    assert {type(number) for number in numbers} == {int}
    listening = {
        port["containerPort"]
        for pod in (pods_of(objects) | proxies_of(objects)).values()
        for container in containers(pod)
        for port in container.get("ports", ())
    }
    assert numbers - {53} - outside <= listening


def have_a_network_policy(objects: Objects) -> None:
    """One NetworkPolicy selects the pods of each Deployment and StatefulSet, and no others."""
    selected = [found["podSelector"]["matchLabels"].items() for found in policies(objects)]
    for maker in makers(objects):
        labels = maker["spec"]["template"]["metadata"]["labels"].items()
        assert len([one for one in selected if one <= labels]) == 1
        assert maker["spec"]["selector"]["matchLabels"].items() in selected
    if proxies_of(objects):
        assert [labels for labels in selected if OWNER in dict(labels)]


def sidecar_fits(pod: dict[str, Any], found: model.Settings) -> None:
    """Probes use the health port, every opened file is mounted, and no other secret is."""
    (sidecar,) = (one for one in pod["initContainers"] if one["name"] == "authz")
    assert sidecar["restartPolicy"] == "Always"
    probes = [sidecar[f"{kind}Probe"]["grpc"] for kind in ("startup", "readiness", "liveness")]
    assert {probe["port"] for probe in probes} == {found.ops.health_listen.port}
    assert [probe["service"] for probe in probes] == ["liveness", "readiness", "liveness"]
    mounted = {mount["mountPath"] for mount in sidecar["volumeMounts"]}
    opened = [Path(found.check.listen.path), found.redis.password_file, found.cache.snapshot]
    opened += [pepper.file for pepper in found.keys.peppers]
    assert {str(file.parent) for file in opened} <= mounted
    (proxy,) = pod["containers"]
    shared = {mount["name"]: mount["mountPath"] for mount in proxy["volumeMounts"]}
    assert shared["run"] == str(Path(found.check.listen.path).parent)
    (store,) = (volume for volume in pod["volumes"] if volume["name"] == "store")
    assert [item["key"] for item in store["secret"]["items"]] == ["sidecar"]
    assert "store" not in shared
    assert "pepper" not in shared


def toolbox_fits(toolbox: dict[str, Any], file: Path) -> None:
    """The toolbox has the settings of the sidecars, in `file`, and another user of the store."""
    users = (K8S.parent / "redis" / "users.acl").read_text()
    said = {variable["name"]: variable["value"] for variable in toolbox["env"]}
    sidecar = model.load(file, environ={})
    admin = model.load(file, environ=said)
    for found in (sidecar, admin):
        assert f"user {found.redis.username} " in users
    assert admin.redis.username == "authz-admin"
    assert admin.changed(redis=sidecar.redis, keys=sidecar.keys) == sidecar
    assert (admin.redis.url, admin.keys) == (sidecar.redis.url, sidecar.keys)
    mounted = {mount["mountPath"] for mount in toolbox["volumeMounts"]}
    opened = [admin.redis.password_file, *(pepper.file for pepper in admin.keys.peppers)]
    assert {str(file.parent) for file in opened} <= mounted
