"""The overlays of Istio and Envoy Gateway agree with envoy.yaml."""

import json
from pathlib import Path

import pytest
import yaml

from authz.core.finding import Level
from authz.proxy.document import read
from authz.proxy.rules import examine
from tests.support.deploy.manifests import K8S, needs_kubectl, of_kind, one, pods
from tests.support.proxy.envoys import manager_of, validate
from tests.support.proxy.faults import ORIGINAL
from tests.support.proxy.report import DEFAULTS, problems

CORS = {
    "name": "envoy.filters.http.cors",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"},
}

pytestmark = needs_kubectl


def test_istio_leaves_the_probes_of_the_sidecar_alone():
    """Istio does not rewrite probes to a port of istio-proxy, which starts after the sidecar."""
    template = one("istio", "Deployment", "gateway")["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert annotations["sidecar.istio.io/rewriteAppHTTPProbers"] == "false"
    assert json.loads(annotations["proxy.istio.io/config"]) == {
        "terminationDrainDuration": "20s",
        "gatewayTopology": {"numTrustedProxies": 0},
    }


def mesh() -> dict:
    """Return the settings for meshConfig."""
    return yaml.safe_load((K8S / "overlays/istio/mesh.yaml").read_text())["meshConfig"]


def test_the_mesh_gets_extension_providers_only():
    """Settings of mesh.yaml do not change other gateways."""
    assert set(mesh()) == {"extensionProviders"}


def test_a_stranger_cannot_take_over_the_checks():
    """The provider names the namespace, and the ServiceEntry is visible in that namespace only."""
    provider = mesh()["extensionProviders"][0]["envoyExtAuthzGrpc"]
    entry = one("istio", "ServiceEntry", "authz")
    (host,) = entry["spec"]["hosts"]
    assert provider["service"] == f"{entry['metadata']['namespace']}/{host}"
    assert entry["spec"]["exportTo"] == ["."]


def test_access_logs_are_those_of_envoy_yaml():
    """The access logs of both meshes have the fields of envoy.yaml, with key and client."""
    log = manager_of(yaml.safe_load(ORIGINAL.read_text()))["access_log"][0]["typed_config"]
    wanted = log["log_format"]["json_format"]
    provider = mesh()["extensionProviders"][1]
    assert provider["envoyFileAccessLog"]["logFormat"]["labels"] == wanted
    telemetry = one("istio", "Telemetry", "authz")["spec"]
    assert telemetry["accessLogging"] == [{"providers": [{"name": provider["name"]}]}]
    proxy = one("gateway", "EnvoyProxy", "authz")["spec"]
    (setting,) = proxy["telemetry"]["accessLog"]["settings"]
    assert setting["format"] == {"type": "JSON", "json": wanted}


def test_envoy_gateway_has_the_same_sidecar():
    """The sidecar in the EnvoyProxy equals the sidecar in the Deployment."""
    patched = one("gateway", "EnvoyProxy", "authz")["spec"]["provider"]["kubernetes"]
    pod = patched["envoyDeployment"]["patch"]["value"]["spec"]["template"]["spec"]
    own = pods("standalone")["gateway"]
    assert pod["initContainers"] == own["initContainers"]
    assert pod["securityContext"]["fsGroup"] == own["securityContext"]["fsGroup"]
    assert pod["volumes"] == [volume for volume in own["volumes"] if volume["name"] != "envoy"]


def merged(base, patch):
    """Merge two protobuf messages as MERGE does."""
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return base + patch if isinstance(base, list) and isinstance(patch, list) else patch
    return base | {name: merged(base.get(name), value) for name, value in patch.items()}


def istio_makes() -> dict:
    """Return the configuration that Istio renders from the provider in mesh.yaml."""
    asked = mesh()["extensionProviders"][0]["envoyExtAuthzGrpc"]
    host = asked["service"].partition("/")[2]
    document = yaml.safe_load(ORIGINAL.read_text())
    manager = manager_of(document)
    for name in (
        "merge_slashes",
        "early_header_mutation_extensions",
        "path_with_escaped_slashes_action",
        "strip_any_host_port",
        "common_http_protocol_options",
    ):
        del manager[name]
    name = f"outbound|{asked['port']}||{host}"
    manager["http_filters"][0]["typed_config"] = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": name}, "timeout": asked["timeout"]},
        "failure_mode_allow": asked["failOpen"],
        "status_on_error": {"code": int(asked["statusOnError"])},
    }
    manager["http_filters"][1] = {"name": CORS["name"], "typed_config": CORS["typed_config"]}
    cluster = document["static_resources"]["clusters"][0]
    for part in ("health_checks", "typed_extension_protocol_options", "outlier_detection"):
        del cluster[part]
    cluster["name"] = cluster["load_assignment"]["cluster_name"] = name
    return document


def apply_patch(document: dict, patch: dict) -> None:
    """Apply a patch of an EnvoyFilter as Istio does."""
    manager, value = manager_of(document), patch["patch"].get("value")
    filters = manager["http_filters"]
    matched = patch["match"].get("listener", {}).get("filterChain", {}).get("filter", {})
    name = matched.get("subFilter", {}).get("name")
    position = next((n for n, one in enumerate(filters) if one["name"] == name), None)
    match patch["applyTo"], patch["patch"]["operation"]:
        case "NETWORK_FILTER", "MERGE":
            manager |= merged(manager, value["typed_config"])
        case "CLUSTER", "MERGE":
            cluster = document["static_resources"]["clusters"][0]
            cluster |= merged(cluster, value)
        case "HTTP_FILTER", "MERGE":
            filters[position] = merged(filters[position], value)
        case "HTTP_FILTER", "REMOVE":
            del filters[position]
        case "HTTP_FILTER", "INSERT_FIRST":
            filters.insert(0, value)
        case "HTTP_FILTER", "INSERT_BEFORE":
            filters.insert(position, value)
        case other:
            raise AssertionError(other)


def test_the_envoy_filter_completes_the_configuration_of_istio(tmp_path: Path):
    """With the EnvoyFilter the configuration is valid, and the doctor finds no problem."""
    document = istio_makes()
    before = {f.check for f in examine([document], DEFAULTS) if f.level is Level.FAIL}
    assert before == {"service", "mutations", "identity"}
    for name in ("authz-cors", "authz"):
        (found,) = (o for o in of_kind("istio", "EnvoyFilter") if o["metadata"]["name"] == name)
        for patch in found["spec"]["configPatches"]:
            apply_patch(document, patch)
    assert [one["name"].rpartition(".")[2] for one in manager_of(document)["http_filters"]] == [
        *("cors", "ext_authz", "header_mutation", "router")
    ]
    ours = manager_of(yaml.safe_load(ORIGINAL.read_text()))
    assert manager_of(document)["http_filters"][2] == ours["http_filters"][1]
    early = "early_header_mutation_extensions"
    assert manager_of(document)[early] == ours[early]
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(document))
    done = validate(file)
    assert done.returncode == 0, done.stderr[-1000:]
    assert problems(read(file)) == []


def test_envoy_gateway_is_patched_with_values_of_envoy_yaml():
    """Each value of the EnvoyPatchPolicy equals the field of that name in envoy.yaml."""
    manager = manager_of(yaml.safe_load(ORIGINAL.read_text()))
    ours = manager | manager["http_filters"][0]["typed_config"]
    patches = one("gateway", "EnvoyPatchPolicy", "authz")["spec"]["jsonPatches"]
    assert {p["operation"]["path"] for p in patches} == {
        "/validate_mutations",
        "/decoder_header_mutation_rules",
    }
    for patch in patches:
        assert patch["operation"]["value"] == ours[patch["operation"]["path"][1:]]


def test_envoy_gateway_removes_identity_headers():
    """Identity headers of a client are removed by prefix, the others as in envoy.yaml."""
    early = one("gateway", "ClientTrafficPolicy", "authz")["spec"]["headers"]["earlyRequestHeaders"]
    assert early["removeOnMatch"] == [{"type": "Prefix", "value": "x-auth-"}]
    (ours,) = manager_of(yaml.safe_load(ORIGINAL.read_text()))["early_header_mutation_extensions"]
    named = [one["remove"] for one in ours["typed_config"]["mutations"] if "remove" in one]
    assert early["remove"] == named


def test_envoy_gateway_patches_a_listener_of_the_gateway():
    """The patch names the listener as Envoy Gateway 1.9 does: namespace, Gateway, listener."""
    policy = one("gateway", "EnvoyPatchPolicy", "authz")
    namespace, gateway = policy["metadata"]["namespace"], policy["spec"]["targetRef"]["name"]
    names = {patch["name"] for patch in policy["spec"]["jsonPatches"]}
    assert names == {f"{namespace}/{gateway}/http"}


@pytest.mark.parametrize("overlay", ["istio", "gateway"])
def test_authz_receives_the_same_headers(overlay: str):
    """The overlay sends authz the headers that envoy.yaml sends."""
    ours = manager_of(yaml.safe_load(ORIGINAL.read_text()))["http_filters"][0]["typed_config"]
    wanted = [pattern["exact"] for pattern in ours["allowed_headers"]["patterns"]]
    if overlay == "gateway":
        shown = one("gateway", "SecurityPolicy", "authz")["spec"]["extAuth"]["headersToExtAuth"]
    else:
        (found,) = (o for o in of_kind("istio", "EnvoyFilter") if o["metadata"]["name"] == "authz")
        patch = found["spec"]["configPatches"][0]
        allowed = patch["patch"]["value"]["typed_config"]["allowed_headers"]
        shown = [pattern["exact"] for pattern in allowed["patterns"]]
    assert shown == wanted


def test_nothing_fails_open():
    """In both overlays an error denies, and the timeout is set."""
    extauth = one("gateway", "SecurityPolicy", "authz")["spec"]["extAuth"]
    assert (extauth["failOpen"], extauth["statusOnError"], extauth["timeout"]) == (
        False,
        503,
        "500ms",
    )
    policy = one("istio", "AuthorizationPolicy", "authz")["spec"]
    assert policy["action"] == "CUSTOM"
    (rule,) = policy["rules"]
    (to,) = rule["to"]
    assert to == {"operation": {"notPaths": ["/healthz"]}}
