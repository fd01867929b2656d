"""The manifests are valid, locked down, and agree with the settings and envoy.yaml."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from authz.core.finding import Level
from authz.core.listen_address import Address
from authz.proxy.document import read
from authz.proxy.rules import examine
from authz.settings import model
from tests.support.deploy import standards
from tests.support.deploy.manifests import (
    K8S,
    METER,
    OLDEST,
    OVERLAYS,
    built,
    needs_kubectl,
    of_kind,
    one,
    pods,
    settings,
)
from tests.support.proxy.envoys import validate
from tests.support.proxy.faults import ORIGINAL
from tests.support.proxy.report import DEFAULTS
from tests.support.real import Valkey

NEWEST = kubernetes_validate.latest_version()
# Ports of a pod that Istio and Envoy Gateway add: requests, health, metrics.
ADDED = {"standalone": set(), "istio": {15020, 15021}, "gateway": {10080, 10443, 19001}}

pytestmark = needs_kubectl
overlays = pytest.mark.parametrize("overlay", OVERLAYS)
all_parts = pytest.mark.parametrize("overlay", [*OVERLAYS, METER])


def seconds(text: str) -> float:
    """Return a duration such as 20s in seconds."""
    return float(text.removesuffix("s"))


@all_parts
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_valid(overlay: str, version: str):
    """Every object fits the strict schema of the oldest and the newest Kubernetes."""
    standards.are_valid(built(overlay), version)


@all_parts
def test_every_pod_is_restricted(overlay: str):
    """Every pod fits PodSecurity `restricted` and has a read-only root."""
    standards.are_restricted(built(overlay))


@pytest.mark.parametrize("overlay", ["standalone", "istio"])
def test_a_namespace_of_ours_enforces_the_restricted_standard(overlay: str):
    """The namespace of the overlay refuses pods that are not restricted."""
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    assert (
        namespace["metadata"]["name"]
        == one(overlay, "Deployment", "gateway")["metadata"]["namespace"]
    )


@overlays
def test_the_toolbox_differs_from_a_sidecar_only_in_its_user(overlay: str, tmp_path: Path):
    """The toolbox has the settings of the sidecars and another user of the store."""
    (tmp_path / "authz.yaml").write_text(settings(overlay, "authz.yaml"))
    (toolbox,) = pods(overlay)["authz-toolbox"]["containers"]
    standards.toolbox_fits(toolbox, tmp_path / "authz.yaml")


@pytest.mark.parametrize("overlay", ["standalone", "istio"])
def test_the_sidecar_fits_its_settings(overlay: str, tmp_path: Path):
    """Probes use the health port, every opened file is mounted, and no other secret is."""
    (tmp_path / "authz.yaml").write_text(settings(overlay, "authz.yaml"))
    found = model.load(tmp_path / "authz.yaml", environ={})
    standards.sidecar_fits(pods(overlay)["gateway"], found)


def test_envoy_is_the_envoy_of_envoy_yaml(tmp_path: Path):
    """Only addresses differ from envoy.yaml; Envoy and the doctor accept the file."""
    file = tmp_path / "envoy.yaml"
    file.write_text(one("standalone", "ConfigMap", "gateway-envoy")["data"]["envoy.yaml"])

    def without_addresses(path: Path) -> dict:
        found = yaml.safe_load(path.read_text())
        for cluster in found["static_resources"]["clusters"]:
            cluster["load_assignment"] = cluster["type"] = None
        return found

    assert without_addresses(file) == without_addresses(ORIGINAL)
    assert "unix" not in file.read_text()
    assert "path: /run/authz/check.sock" in file.read_text()
    assert validate(file).returncode == 0
    assert all(found.level is Level.OK for found in examine(read(file), DEFAULTS))


def test_the_store_is_durable(tmp_path: Path):
    """A real Valkey with these arguments persists changes, evicts nothing, and has a memory limit
    below that of its container."""
    (container,) = pods("standalone")["valkey"]["containers"]
    users = tmp_path / "users.acl"
    users.write_text("user default on nopass ~* &* +@all\n")
    arguments = [word.replace("/etc/valkey/users.acl", str(users)) for word in container["args"]]
    with Valkey(*arguments) as valkey:
        said = valkey.admin.config_get("*")
    assert (said["appendonly"], said["save"]) == ("yes", "")
    assert said["maxmemory-policy"] == "noeviction"
    assert said["aclfile"] == str(users)
    limit = container["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    assert int(said["maxmemory"]) < 0.7 * float(limit.removesuffix("Gi")) * 2**30


@overlays
def test_network_policies_use_port_numbers(overlay: str):
    """Ports are numbers: many network plugins do not resolve port names of native sidecars."""
    standards.have_numbered_ports(built(overlay), {6379} | ADDED[overlay])


@overlays
def test_every_pod_has_a_network_policy(overlay: str):
    """A NetworkPolicy selects each Deployment and the proxies of Envoy Gateway."""
    standards.have_a_network_policy(built(overlay))


def test_the_settings_of_the_meter():
    """The meter listens for pods, wants a token, and uses a user of the store of its own."""
    (container,) = pods(METER)["authz-meter"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    found = model.load(environ=environment)
    assert str(found.meter.listen) == "0.0.0.0:9195"
    assert found.meter.allow_plaintext
    assert str(found.meter.token_file) == "/etc/authz/meter/token"
    assert found.redis.username == "authz-meter"
    assert f"user {found.redis.username} " in (K8S.parent / "redis" / "users.acl").read_text()
    (service,) = of_kind(METER, "Service")
    assert service["spec"]["ports"][0]["port"] == found.meter.listen.port
    grace = one(METER, "Deployment", "authz-meter")["spec"]["template"]["spec"]
    assert grace["terminationGracePeriodSeconds"] > found.meter.drain


def with_component(overlay: str, component: str, directory: Path) -> list[dict[str, Any]]:
    """Return the objects of an overlay to which a component is added, from a copy of deploy/k8s."""
    shutil.copytree(K8S, directory / "k8s")
    file = directory / "k8s" / "overlays" / overlay / "kustomization.yaml"
    file.write_text(f"{file.read_text()}components:\n  - ../../{component}\n")
    command = ["kubectl", "kustomize", str(file.parent)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return list(yaml.safe_load_all(done.stdout))


@overlays
def test_the_admin_api_beside_an_overlay(overlay: str, tmp_path: Path):
    """The component adds a pod with the settings of the overlay, whose files are all mounted."""
    objects = with_component(overlay, "admin", tmp_path)
    ours = [one for one in objects if one["metadata"]["name"] == "authz-admin"]
    kinds = {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    assert {one["kind"] for one in ours} == kinds
    for version in (OLDEST, NEWEST):
        standards.are_valid(ours, version)
    standards.are_restricted(ours)
    standards.have_a_network_policy(ours)
    (deployment,) = (one for one in ours if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    volumes = {one["name"]: one for one in pod["volumes"]}
    maps = {one["metadata"]["name"]: one for one in objects if one["kind"] == "ConfigMap"}
    file = tmp_path / "authz.yaml"
    file.write_text(maps[volumes["settings"]["configMap"]["name"]]["data"]["authz.yaml"])
    said = {entry["name"]: entry["value"] for entry in container["env"]}
    found = model.load(file, environ=said)
    assert f"user {found.redis.username} " in (K8S.parent / "redis" / "users.acl").read_text()
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    opened = [found.redis.password_file, found.admin.tls.cert, found.admin.tls.key]
    opened += [pepper.file for pepper in found.keys.peppers]
    assert {str(path.parent) for path in opened} | {"/etc/authz/secrets"} <= mounted
    assert volumes["files"]["secret"]["optional"] is True
    (service,) = (one for one in ours if one["kind"] == "Service")
    assert service["spec"]["ports"][0]["port"] == found.admin.listen.port


@pytest.mark.parametrize("overlay", ["standalone", "istio"])
def test_a_meter_in_the_pod_of_the_gateway(overlay: str, tmp_path: Path):
    """The component adds a restricted container, to whose socket the shipped Envoy sends."""
    objects = with_component(overlay, "meter/sidecar", tmp_path)
    (gateway,) = (
        one
        for one in objects
        if (one["kind"], one["metadata"]["name"]) == ("Deployment", "gateway")
    )
    kubernetes_validate.validate(gateway, OLDEST, strict=True)
    pod = gateway["spec"]["template"]["spec"]
    meter, authz = pod["initContainers"]
    assert (authz["name"], meter["name"]) == ("authz", "meter")
    assert (meter["image"], meter["restartPolicy"]) == (authz["image"], "Always")
    assert meter["securityContext"] == authz["securityContext"]
    assert "readinessProbe" not in meter
    listen = Address.parse("--listen", meter["args"][meter["args"].index("--listen") + 1])
    shared = {mount["name"]: mount["mountPath"] for mount in meter["volumeMounts"]}
    assert shared["run"] == str(Path(listen.path).parent)
    where = {"pipe": {"path": listen.path}}
    if overlay == "istio":
        (entry,) = (
            one
            for one in objects
            if (one["kind"], one["metadata"]["name"]) == ("ServiceEntry", "authz-usage")
        )
        assert entry["spec"]["endpoints"] == [{"address": f"unix://{listen.path}"}]
    else:
        whole = yaml.safe_load((K8S / "base" / "envoy.yaml").read_text())
        (usage,) = (
            one for one in whole["static_resources"]["clusters"] if one["name"] == "authz_usage"
        )
        (group,) = usage["load_assignment"]["endpoints"]
        assert [one["endpoint"]["address"] for one in group["lb_endpoints"]] == [where]


def test_the_meter_of_systemd_listens_where_envoy_sends():
    """The socket of the unit is the endpoint of `authz_usage`."""
    systemd = K8S.parent / "systemd"
    unit = (systemd / "authz-meter.service").read_text()
    (path,) = re.findall(r"^ExecStart=.* --listen unix:(\S+)", unit, re.MULTILINE)
    assert f"pipe: {{ path: {path} }}" in (systemd / "envoy.yaml").read_text()
