"""The Helm chart, rendered by helm, meets the standards of the overlays."""

import asyncio
import re
import shutil
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from authz.core.finding import Level
from authz.proxy.document import read
from authz.proxy.llm import PER_ROUTE, llm_filter
from authz.proxy.rules import examine
from authz.settings import model
from tests.support.deploy import standards
from tests.support.deploy.chart import CHART
from tests.support.deploy.helm import SETS, named, needs_helm, refusal, rendered
from tests.support.deploy.manifests import OLDEST, pods_of, proxies_of
from tests.support.docs import ROOT
from tests.support.proxy.collector import collecting
from tests.support.proxy.envoys import manager_of, running, validate
from tests.support.proxy.report import DEFAULTS
from tests.support.real import free_port

pytestmark = needs_helm
BOOK = (ROOT / "docs" / "operations.md").read_text()
sets = pytest.mark.parametrize("name", SETS)
# Ports of the store, the identity provider, and those that Istio and Envoy Gateway add to a pod.
OUTSIDE = {443, 6379, 6380, 15020, 15021, 10080, 10443, 19001}


def test_helm_finds_no_fault() -> None:
    """`helm lint` accepts the chart without values and with all of them."""
    for values in ({}, SETS["everything"]):
        command = ["helm", "lint", "--strict", str(CHART), "--kube-version", OLDEST]
        done = subprocess.run(
            [*command, "--values", "-"],
            check=False,
            input=yaml.safe_dump(values),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "0 chart(s) failed" in done.stdout, done.stdout


@sets
@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_every_object_is_valid(name: str, version: str) -> None:
    """Every object fits the strict schema of the oldest and the newest Kubernetes."""
    standards.are_valid(rendered(SETS[name]), version)


@sets
def test_every_pod_is_restricted_and_has_a_network_policy(name: str) -> None:
    """Pods fit PodSecurity `restricted`, and a NetworkPolicy with numbered ports selects each."""
    objects = rendered(SETS[name])
    standards.are_restricted(objects)
    standards.have_a_network_policy(objects)
    standards.have_numbered_ports(objects, OUTSIDE)


@sets
def test_the_pods_fit_their_settings(name: str, tmp_path: Path) -> None:
    """Sidecar, toolbox, admin API and meter load the settings, and each file of them is mounted."""
    objects = rendered(SETS[name])
    file = tmp_path / "authz.yaml"
    file.write_text(named(objects)["ConfigMap/authz-settings"]["data"]["authz.yaml"])
    found = pods_of(objects)
    settings = model.load(file, environ={})
    for pod in (found.get("authz-gateway"), proxies_of(objects).get("EnvoyProxy")):
        if pod:
            standards.sidecar_fits(pod, settings)
    for one in ("authz-admin", "authz-meter"):
        for container in found.get(one, {}).get("containers", ()):
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            said = {variable["name"]: variable["value"] for variable in container["env"]}
            own = model.load(file, environ=said)
            opened = [own.redis.password_file]
            if one == "authz-admin":
                opened += [own.admin.tls.cert, own.admin.tls.key]
                opened += [pepper.file for pepper in own.keys.peppers]
            else:
                opened += [own.meter.token_file]
            assert {str(path.parent) for path in opened} <= mounted
            if own.redis.tls:
                assert str(own.redis.tls.ca.parent) in mounted


@pytest.mark.parametrize("name", ["standalone", "istio", "envoy-gateway"])
def test_the_toolbox_differs_from_a_sidecar_only_in_its_user(name: str, tmp_path: Path) -> None:
    """The toolbox has the settings of the sidecars and another user of the store."""
    objects = rendered(SETS[name])
    file = tmp_path / "authz.yaml"
    file.write_text(named(objects)["ConfigMap/authz-settings"]["data"]["authz.yaml"])
    (toolbox,) = pods_of(objects)["authz-toolbox"]["containers"]
    standards.toolbox_fits(toolbox, file)


@pytest.mark.parametrize("name", ["standalone", "meters", "everything"])
def test_envoy_and_the_doctor_accept_the_configuration(name: str, tmp_path: Path) -> None:
    """Envoy starts with the file of the release, and the doctor finds nothing."""
    file = tmp_path / "envoy.yaml"
    text = named(rendered(SETS[name]))["ConfigMap/authz-envoy"]["data"]["envoy.yaml"]
    file.write_text(text)
    assert validate(file).returncode == 0
    address = "x-envoy-external-address" if name == "everything" else "peer"
    expected = replace(DEFAULTS, client_address=address)
    assert [one for one in examine(read(file), expected) if one.level is not Level.OK] == []
    if name == "everything":
        assert "xff_num_trusted_hops: 2 " in text
        assert "{ address: api.example.com, port_value: 8080 }" in text


async def test_envoy_sends_the_token_of_the_meter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real Envoy sends the token that its environment has from the Secret."""
    objects = named(rendered(SETS["meters"]))
    (envoy,) = objects["Deployment/authz-gateway"]["spec"]["template"]["spec"]["containers"]
    (variable,) = envoy["env"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "authz-meter", "key": "send"}}
    monkeypatch.setenv(variable["name"], "made-up-token")
    whole = yaml.safe_load(objects["ConfigMap/authz-envoy"]["data"]["envoy.yaml"])
    admin, port, behind = free_port(), free_port(), free_port()
    whole["admin"]["address"]["socket_address"]["port_value"] = admin
    whole["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port
    manager = manager_of(whole)
    del manager["http_filters"][0]  # no sidecar runs
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        route.pop("typed_per_filter_config", None)
    (logger,) = (log for log in manager["access_log"] if "filter" in log)
    del logger["filter"]
    clusters = {each["name"]: each for each in whole["static_resources"]["clusters"]}
    usage = clusters["authz_usage"]
    (group,) = usage["load_assignment"]["endpoints"]
    (endpoint,) = group["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"]["address"] == "authz-usage"
    endpoint["endpoint"]["address"]["socket_address"].update(address="127.0.0.1", port_value=behind)
    async with collecting(behind) as collector:
        with running(whole, tmp_path / "envoy.yaml"):
            asked = f"http://127.0.0.1:{port}/healthz"
            await asyncio.to_thread(lambda: urllib.request.urlopen(asked, timeout=20).close())
            async with asyncio.timeout(30):
                while not collector.lines:
                    await asyncio.sleep(0.05)
    assert collector.credentials == {"Bearer made-up-token"}


def test_each_listener_of_a_gateway_is_patched() -> None:
    """The patches of Envoy Gateway name every listener in `listeners`, and the Gateway."""
    objects = named(rendered(SETS["envoy-gateway with everything"]))
    for name, patches in (("authz", 2), ("authz-usage", 4)):
        found = objects[f"EnvoyPatchPolicy/{name}"]["spec"]
        listeners = [patch["name"] for patch in found["jsonPatches"]]
        assert listeners == ["tcp-80"] * patches + ["tcp-443"] * patches
        assert found["targetRef"]["name"] == "web"
    (patch,) = objects["EnvoyPatchPolicy/authz-health"]["spec"]["jsonPatches"]
    assert patch["name"] == "securitypolicy/authz/authz/extauth/0"


def test_the_filter_for_llms_is_on_at_each_route() -> None:
    """In both meshes the Lua is the shipped one, and each listener has a patch for each route.

    The name of a route stays a text, also if YAML could read it as a number.
    """
    (found,) = _of_llms("istio with LLMs", "EnvoyFilter")
    _, filter_patch, *each = found["spec"]["configPatches"]
    assert filter_patch["patch"]["value"] == llm_filter()
    routes = [patch["match"]["routeConfiguration"]["vhost"]["route"]["name"] for patch in each]
    assert routes == ["chat", "a.b.0", "1.0", "true"]
    assert each[0]["patch"]["value"] == PER_ROUTE
    (found,) = _of_llms("envoy-gateway with LLMs", "EnvoyPatchPolicy")
    patches = found["spec"]["jsonPatches"]
    assert [patch["name"] for patch in patches] == ["tcp-80"] * 4 + ["tcp-443"] * 4
    assert patches[0]["operation"]["value"] == llm_filter()
    assert "httproute/default/llm/.*" in patches[2]["operation"]["jsonPath"]
    assert not _of_llms("istio", "EnvoyFilter")


def _of_llms(values: str, kind: str) -> list[dict[str, Any]]:
    objects = named(rendered(SETS[values])).items()
    return [found for name, found in objects if name == f"{kind}/authz-llm"]


def test_admin_may_deliver_secrets_to_the_cluster() -> None:
    """With an account of its own `authz admin` has a token of it, and reaches further ports."""
    found = rendered(SETS["istio with everything"])
    assert _admin(found) == ("authz", False, [6380, 443])
    wanted = {"serviceAccount": "authz-admin", "egressPorts": [6443, 8200]}
    values = SETS["istio with everything"]
    found = rendered({**values, "admin": {**values["admin"], **wanted}})
    assert _admin(found) == ("authz-admin", True, [6380, 443, 6443, 8200])


def test_files_of_targets_are_mounted() -> None:
    """Each Secret of `admin.secrets` is a folder that the settings can name."""
    values = SETS["istio with everything"]
    found = rendered({**values, "admin": {**values["admin"], "secrets": ["vault", "1"]}})
    pod = named(found)["Deployment/authz-admin"]["spec"]["template"]["spec"]
    volumes = {
        one["name"]: one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one
    }
    mounts = {one["mountPath"]: one for one in pod["containers"][0]["volumeMounts"]}
    for name in ("vault", "1"):
        mount = mounts[f"/etc/authz/secrets/{name}"]
        assert (volumes[mount["name"]], mount["readOnly"]) == (name, True)
    standards.are_valid(found, OLDEST)
    for wrong in ("", "../x", "a/b", "A"):
        assert refusal({**values, "admin": {**values["admin"], "secrets": [wrong]}})


def _admin(objects: list[dict[str, Any]]) -> tuple[str, bool, list[int]]:
    """Return account, whether the pod gets a token, and the ports that it may reach."""
    by_name = named(objects)
    pod = by_name["Deployment/authz-admin"]["spec"]["template"]["spec"]
    egress = by_name["NetworkPolicy/authz-admin"]["spec"]["egress"]
    ports = [port["port"] for rule in egress for port in rule["ports"] if "to" not in rule]
    ports = [port for port in ports if port != 53]  # names
    return pod["serviceAccountName"], pod["automountServiceAccountToken"], ports


def test_names_of_digits_stay_texts() -> None:
    """A release and Secrets whose names are digits render objects that are valid."""
    names = {"pepper": {"secret": "1"}, "store": {"secret": "2", "url": "redis://valkey"}}
    names["admin"] = {"enabled": True, "tlsSecret": "3"}
    names["meter"] = {"mode": "deployment", "tokenSecret": "4"}
    objects = rendered({**SETS["meters"], **names}, release="123")
    assert "Deployment/123-authz-gateway" in named(objects)
    standards.are_valid(objects, OLDEST)


def test_a_package_has_all_files(tmp_path: Path) -> None:
    """A packaged chart renders the same objects, so no file is left out."""
    command = ["helm", "package", str(CHART), "--destination", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (package,) = tmp_path.iterdir()
    assert rendered(SETS["everything"], chart=package) == rendered(SETS["everything"])


def test_the_values_reach_the_settings() -> None:
    """`settings` adds to the shipped settings, and the peppers of sidecars and admin API differ."""
    objects = named(rendered(SETS["everything"]))
    found = yaml.safe_load(objects["ConfigMap/authz-settings"]["data"]["authz.yaml"])
    assert found["extract"] == {"client_address": "x-envoy-external-address"}  # behind two proxies
    assert found["plans"] == {"standard": ["10/s"]}
    assert found["meter"] == {"max_message_bytes": 1048576}
    assert [pepper["version"] for pepper in found["keys"]["peppers"]] == ["1", "2"]
    (admin,) = objects["Deployment/authz-admin"]["spec"]["template"]["spec"]["containers"]
    said = {variable["name"]: variable["value"] for variable in admin["env"]}
    assert [one["version"] for one in yaml.safe_load(said["AUTHZ_KEYS__PEPPERS"])] == ["1"]


def test_rules_and_dashboards_are_the_shipped_ones() -> None:
    """The PrometheusRule has every rule, with the address of the documents before the run book."""
    objects = named(rendered(SETS["everything"]))
    shipped = yaml.safe_load((CHART / "files" / "authz.rules.yaml").read_text())
    found = objects["PrometheusRule/authz"]["spec"]
    for group in found["groups"]:
        for rule in group["rules"]:
            if book := rule.get("annotations", {}).get("runbook_url"):
                assert book.startswith("https://git.example.com/docs/operations.md#")
                rule["annotations"]["runbook_url"] = book.removeprefix("https://git.example.com/")
    assert found == shipped
    for file in (CHART / "files" / "dashboards").iterdir():
        data = objects[f"ConfigMap/authz-dashboard-{file.stem}"]["data"]
        assert data[file.name] == file.read_text()


@sets
def test_two_releases_share_a_namespace(name: str) -> None:
    """No object, selector, host or provider of one release is one of another."""
    blue, green = (rendered(SETS[name], release=release) for release in ("blue", "green"))
    assert named(blue).keys().isdisjoint(named(green))
    for found in standards.makers(blue):
        selector = found["spec"]["selector"]["matchLabels"].items()
        for other in standards.makers(green):
            assert not selector <= other["spec"]["template"]["metadata"]["labels"].items()
    hosts = [
        {host for one in release if one["kind"] == "ServiceEntry" for host in one["spec"]["hosts"]}
        for release in (blue, green)
    ]
    assert hosts[0].isdisjoint(hosts[1])


def test_the_values_of_the_run_book_are_enough() -> None:
    """The values in docs/operations.md install a gateway with its store."""
    section = BOOK.partition("### Kubernetes, with Helm\n")[2].partition("\n### ")[0]
    (block,) = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    objects = named(rendered(yaml.safe_load(block)))
    assert {"Deployment/authz-gateway", "StatefulSet/authz-valkey"} <= objects.keys()
    for deployment in re.findall(r"deploy/(authz-\w+)", section):
        assert f"Deployment/{deployment}" in objects


@sets
def test_the_notes_name_objects_that_exist(name: str, tmp_path: Path) -> None:
    """Deployments, ConfigMaps and the EnvoyProxy of the next commands are those of the release."""
    shutil.copytree(CHART, tmp_path / "authz")
    templates = tmp_path / "authz" / "templates"
    text = (templates / "NOTES.txt").read_text()
    (templates / "_notes.tpl").write_text('{{ define "notes" }}' + text + "{{ end }}")
    shown = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: notes }\n"
        'data:\n  notes: |\n    {{- include "notes" . | nindent 4 }}\n'
    )
    (templates / "notes.yaml").write_text(shown)
    objects = named(rendered(SETS[name], chart=tmp_path / "authz"))
    notes = objects["ConfigMap/notes"]["data"]["notes"]
    for deployment in re.findall(r"deploy/(\S+)", notes):
        assert f"Deployment/{deployment}" in objects
    for config_map in re.findall(r"get configmap (\S+)", notes):
        assert f"ConfigMap/{config_map}" in objects
    for proxy in re.findall(r'"kind":"EnvoyProxy","name":"([^"]+)"', notes):
        assert f"EnvoyProxy/{proxy}" in objects
    assert "authz init" in notes
    for secret in ("authz-pepper: pepper-1", "authz-store: sidecar admin"):
        assert secret in notes
