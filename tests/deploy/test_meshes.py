"""The overlays of Istio and Envoy Gateway agree with envoy.yaml."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.core.finding import Level
from authz.proxy.document import read
from authz.proxy.llm import MOST_BYTES, NAME, PER_ROUTE, llm_filter
from authz.proxy.rules import examine
from authz.proxy.usage_logger import ROOM, usage_cluster, usage_logger
from tests.support.deploy.manifests import K8S, needs_kubectl, of_kind, one, pods
from tests.support.docs import ROOT
from tests.support.proxy.envoys import manager_of, validate
from tests.support.proxy.faults import HTTP2, ORIGINAL
from tests.support.proxy.report import DEFAULTS, problems

CORS = {
    "name": "envoy.filters.http.cors",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"},
}

FIXTURES = ROOT / "tests/proxy/fixtures"

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
    provider = mesh()["extensionProviders"][-1]
    assert provider["envoyFileAccessLog"]["logFormat"]["labels"] == wanted
    telemetry = one("istio", "Telemetry", "authz")["spec"]
    assert telemetry["accessLogging"] == [{"providers": [{"name": provider["name"]}]}]
    proxy = one("gateway", "EnvoyProxy", "authz")["spec"]
    setting, _usage = proxy["telemetry"]["accessLog"]["settings"]
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
    usage = mesh()["extensionProviders"][1]["envoyOtelAls"]
    name = f"outbound|{usage['port']}||{usage['service'].partition('/')[2]}"
    served = document["static_resources"]["clusters"][1]
    served["name"] = served["load_assignment"]["cluster_name"] = name
    del manager["access_log"][1], served["connect_timeout"]
    http2 = {"explicit_http_config": {"http2_protocol_options": {}}}
    served["typed_extension_protocol_options"][HTTP2] |= http2
    room = one("istio", "DestinationRule", "authz-usage")["spec"]["trafficPolicy"]
    pool = room["connectionPool"]["http"]
    served["circuit_breakers"]["thresholds"] = [
        {
            "max_pending_requests": pool["http1MaxPendingRequests"],
            "max_requests": pool["http2MaxRequests"],
            "max_retries": pool["maxRetries"],
        }
    ]
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
        case "HTTP_ROUTE", "MERGE":
            wanted = patch["match"]["routeConfiguration"]["vhost"]["route"]["name"]
            (route,) = (one for one in routes_of(manager) if one.get("name") == wanted)
            route |= merged(route, value)
        case "CLUSTER", "MERGE":
            wanted = patch["match"]["cluster"]["service"]
            clusters = document["static_resources"]["clusters"]
            (cluster,) = (one for one in clusters if one["name"].endswith(f"||{wanted}"))
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
    for name in ("authz-cors", "authz", "authz-usage"):
        (found,) = (o for o in of_kind("istio", "EnvoyFilter") if o["metadata"]["name"] == name)
        for patch in found["spec"]["configPatches"]:
            apply_patch(document, patch)
    assert [one["name"].rpartition(".")[2] for one in manager_of(document)["http_filters"]] == [
        *("cors", "ext_authz", "header_mutation", "router")
    ]
    ours = manager_of(yaml.safe_load(ORIGINAL.read_text()))
    assert manager_of(document)["http_filters"][2] == ours["http_filters"][1]
    assert manager_of(document)["access_log"] == [
        ours["access_log"][0],
        usage_logger("outbound|9195||authz-usage.local"),
    ]
    served = document["static_resources"]["clusters"][1]
    assert served["connect_timeout"] == usage_cluster()["connect_timeout"]
    options = "typed_extension_protocol_options"
    assert served[options] == usage_cluster()[options]
    (room,) = usage_cluster()["circuit_breakers"]["thresholds"]
    assert {"priority": "DEFAULT", **served["circuit_breakers"]["thresholds"][0]} == room
    early = "early_header_mutation_extensions"
    assert manager_of(document)[early] == ours[early]
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(document))
    done = validate(file)
    assert done.returncode == 0, done.stderr[-1000:]
    assert problems(read(file)) == []


def routes_of(manager: dict) -> list[dict]:
    """Return all routes of a connection manager."""
    return [route for host in manager["route_config"]["virtual_hosts"] for route in host["routes"]]


def of_llms(overlay: str) -> dict:
    """Return the object of an overlay that adds the filter for LLM APIs."""
    return yaml.safe_load((K8S / "overlays" / overlay / "llm.yaml").read_text())


READS = replace(DEFAULTS, reads_model=True, has_budgets=True)


def test_istio_gets_the_filter_for_llms(tmp_path: Path):
    """The file adds it before the Check, off, and turns it on at a route: the doctor agrees."""
    document = istio_makes()
    patches = [
        patch for each in of_kind("istio", "EnvoyFilter") for patch in each["spec"]["configPatches"]
    ]
    for patch in patches:
        apply_patch(document, patch)
    routes_of(manager_of(document))[-1]["name"] = "llm"
    assert {f.check for f in examine([document], READS) if f.level is Level.FAIL} == {"llm"}
    for patch in of_llms("istio")["spec"]["configPatches"]:
        apply_patch(document, patch)
    names = [one["name"] for one in manager_of(document)["http_filters"]]
    assert names.index(NAME) == names.index("envoy.filters.http.ext_authz") - 1
    route = routes_of(manager_of(document))[-1]
    assert PER_ROUTE.items() <= route.items()
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(document))
    done = validate(file)
    assert done.returncode == 0, done.stderr[-1000:]
    assert [f for f in examine(read(file), READS) if f.level is not Level.OK] == []


def test_envoy_gateway_gets_the_filter_for_llms():
    """The patches do the same to a configuration that Envoy Gateway made."""
    document = json.loads((FIXTURES / "eg191-as-shipped.json").read_text())
    (route,) = document["routes"][0]["virtual_hosts"][0]["routes"]
    route["name"] = "httproute/default/llm/rule/0/match/0/*"
    before = {(f.check, f.found) for f in examine([document], READS)}
    assert any("no filter reads the model" in found for _, found in before)
    for patch in of_llms("gateway")["spec"]["jsonPatches"]:
        json_patch(document, patch)
    (manager,) = (
        found["typed_config"]
        for found in arrays(document, "filters")
        if len(found["typed_config"]["http_filters"]) > 2
    )
    first = manager["http_filters"][0]
    assert first == llm_filter()
    assert route["typed_per_filter_config"].keys() > {NAME}
    assert route["request_body_buffer_limit"] == MOST_BYTES
    assert {f.level for f in examine([document], READS) if f.check == "llm"} == {Level.OK}


def arrays(document: Any, name: str) -> Iterator[dict]:
    """Yield the members of each list of this name, wherever it is."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == name and isinstance(value, list):
                yield from (each for each in value if isinstance(each, dict))
            yield from arrays(value, name)
    elif isinstance(document, list):
        for each in document:
            yield from arrays(each, name)


def json_patch(document: dict, patch: dict) -> None:
    """Apply a JSON patch of Envoy Gateway: `add`, where a path of the shape that we use leads."""
    shape = r"\.\.(\w+)\[\?match\(@\.name, '([^']+)'\)\](?:\.(\w+))?"
    array, pattern, member = re.fullmatch(shape, patch["operation"]["jsonPath"]).groups()
    where = "routes" if patch["type"].endswith("RouteConfiguration") else "listeners"
    wanted = [one for one in document[where] if one["name"] == patch["name"]]
    assert wanted
    found = [one for one in arrays(wanted, array) if re.fullmatch(pattern, one.get("name", ""))]
    assert found
    *path, last = patch["operation"]["path"].split("/")[1:]
    for each in found:
        node = each[member] if member else each
        for name in path:
            node = node[name]
        if isinstance(node, list):
            node.insert(int(last), patch["operation"]["value"])
        else:
            node[last] = patch["operation"]["value"]


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


def test_envoy_gateway_checks_the_health_as_envoy_yaml_does():
    """The patch of the cluster has the interval of envoy.yaml, which Envoy Gateway cannot say."""
    (patch,) = one("gateway", "EnvoyPatchPolicy", "authz-health")["spec"]["jsonPatches"]
    policy = one("gateway", "SecurityPolicy", "authz")["metadata"]
    assert patch["name"] == f"securitypolicy/{policy['namespace']}/{policy['name']}/extauth/0"
    clusters = yaml.safe_load(ORIGINAL.read_text())["static_resources"]["clusters"]
    (ours,) = (found for found in clusters if found["name"] == "authz")
    field = "no_traffic_interval"
    assert patch["operation"]["path"] == f"/health_checks/0/{field}"
    assert patch["operation"]["value"] == ours["health_checks"][0][field]


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


def test_the_meter_of_istio_is_reached_over_the_socket_of_the_pod():
    """No stranger's ServiceEntry of this name is used, and records cross no network."""
    provider = mesh()["extensionProviders"][1]["envoyOtelAls"]
    entry = one("istio", "ServiceEntry", "authz-usage")
    (host,) = entry["spec"]["hosts"]
    assert provider["service"] == f"{entry['metadata']['namespace']}/{host}"
    assert entry["spec"]["exportTo"] == ["."]
    assert [port["number"] for port in entry["spec"]["ports"]] == [provider["port"]]
    assert entry["spec"]["endpoints"] == [{"address": "unix:///run/authz/meter.sock"}]


def test_no_telemetry_of_istio_names_the_usage_logger():
    """The last Telemetry wins. So the logger is in an EnvoyFilter, and one Telemetry is all."""
    (telemetry,) = of_kind("istio", "Telemetry")
    assert "authz-usage" not in str(telemetry)


def test_envoy_gateway_logs_usage_as_envoy_yaml():
    """The sink and the patches together make the logger and the cluster of envoy.yaml."""
    _, setting = one("gateway", "EnvoyProxy", "authz")["spec"]["telemetry"]["accessLog"]["settings"]
    ours = usage_logger()["typed_config"]
    text = {"type": "Text", "text": ours["body"]["string_value"]}
    assert (setting["type"], setting["format"]) == ("Route", text)
    counted = "has(metadata.filter_metadata['envoy.filters.http.ext_authz'].charge_id)"
    assert setting["matches"] == [counted]
    (sink,) = setting["sinks"]
    room = sink["openTelemetry"]["backendSettings"]["circuitBreaker"]
    assert room == {
        "maxPendingRequests": ROOM["max_pending_requests"],
        "maxParallelRequests": ROOM["max_requests"],
        "maxParallelRetries": ROOM["max_retries"],
    }
    (reference,) = sink["openTelemetry"]["backendRefs"]
    backend = one("gateway", "Backend", reference["name"])
    assert backend["spec"]["endpoints"] == [{"unix": {"path": "/run/authz/meter.sock"}}]
    patches = one("gateway", "EnvoyPatchPolicy", "usage-records")["spec"]["jsonPatches"]
    changes = [patch["operation"] for patch in patches]
    service = ours["common_config"]["grpc_service"]
    chosen = "..access_log[?search(@.typed_config.body.string_value, 'ext_authz:charge_id')]"
    assert [(one["op"], one["jsonPath"], one["path"], one.get("value")) for one in changes] == [
        ("add", f"{chosen}.typed_config.common_config.grpc_service", f"/{name}", service[name])
        for name in ("retry_policy", "timeout")
    ] + [
        ("add", f"{chosen}.typed_config.common_config", "/buffer_size_bytes", 32768),
        ("remove", f"{chosen}.typed_config", "/attributes", None),
    ]
    listeners = one("gateway", "EnvoyPatchPolicy", "authz")["spec"]["jsonPatches"]
    assert {patch["name"] for patch in patches} == {patch["name"] for patch in listeners}
