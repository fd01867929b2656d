"""The fragments of docs/gateways agree with the Service that they ask, and with envoy.yaml."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from authz.core.listen_address import Address
from authz.proxy.headers import BESIDE_IDENTITY, IDENTITY
from authz.settings import model
from tests.support.deploy import standards
from tests.support.deploy.manifests import OLDEST, built, needs_kubectl, one, pods, settings
from tests.support.docs import ROOT
from tests.support.proxy.envoys import manager_of
from tests.support.proxy.faults import ORIGINAL

OVERLAY = "service"
NAMES = ("contour", "gloo", "emissary", "kgateway")
HOST, PORT = "authz.authz.svc", 9191
ASKING = manager_of(yaml.safe_load(ORIGINAL.read_text()))["http_filters"][0]["typed_config"]


def milliseconds(text: str) -> float:
    """Return a duration such as 0.5s or 500ms in milliseconds."""
    return float(text[:-2]) if text.endswith("ms") else 1000 * float(text.removesuffix("s"))


def fragment(name: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a fragment by their kind."""
    text = (ROOT / "deploy" / "gateways" / f"{name}.yaml").read_text()
    return {found["kind"]: found for found in yaml.safe_load_all(text)}


def asked(name: str) -> dict[str, Any]:
    """Return what a gateway is told: address, certificate name, timeout, failures, status, headers.

    status and headers are None where the API of the gateway has no field for them.
    """
    found = fragment(name)
    match name:
        case "contour":
            service, proxy = found["ExtensionService"], found["HTTPProxy"]["spec"]["virtualhost"]
            assert service["spec"]["protocol"] == "h2"
            gate = proxy["authorization"]
            assert gate["extensionRef"]["name"] == service["metadata"]["name"]
            assert gate["extensionRef"]["namespace"] == service["metadata"]["namespace"]
            assert proxy["tls"]
            (target,) = service["spec"]["services"]
            assert service["spec"]["timeoutPolicy"]["response"] == gate["responseTimeout"]
            return {
                "address": (target["name"], service["metadata"]["namespace"], target["port"]),
                "certificate": service["spec"]["validation"]["subjectName"],
                "timeout": gate["responseTimeout"],
                "open": gate["failOpen"],
                "status": None,
                "headers": None,
            }
        case "gloo":
            upstream, gate = found["Upstream"], found["Settings"]["spec"]["extauth"]
            assert gate["extauthzServerRef"] == {
                key: upstream["metadata"][key] for key in ("name", "namespace")
            }
            assert gate["transportApiVersion"] == "V3"
            assert upstream["spec"]["useHttp2"] is True
            host = found["VirtualService"]["spec"]["virtualHost"]["options"]
            assert "customAuth" in host["extauth"]
            kube, tls = upstream["spec"]["kube"], upstream["spec"]["sslConfig"]
            assert tls["verifySubjectAltName"] == [tls["sni"]]
            return {
                "address": (kube["serviceName"], kube["serviceNamespace"], kube["servicePort"]),
                "certificate": tls["sni"],
                "timeout": gate["requestTimeout"],
                "open": gate["failureModeAllow"],
                "status": gate["statusOnError"],
                "headers": None,
            }
        case "emissary":
            gate, tls = found["AuthService"]["spec"], found["TLSContext"]
            assert (gate["proto"], gate["protocol_version"]) == ("grpc", "v3")
            assert gate["tls"] == tls["metadata"]["name"]
            scheme, _, place = gate["auth_service"].partition("://")
            assert (scheme, tls["spec"]["alpn_protocols"]) == ("https", "h2")
            host, _, port = place.partition(":")
            service, namespace, _svc = host.split(".")
            return {
                "address": (service, namespace, int(port)),
                "certificate": tls["spec"]["sni"],
                "timeout": f"{gate['timeout_ms']}ms",
                "open": gate["failure_mode_allow"],
                "status": gate["status_on_error"]["code"],
                "headers": None,
            }
    extension, policy = found["GatewayExtension"], found["TrafficPolicy"]
    gate, tls = extension["spec"]["extAuth"], found["BackendTLSPolicy"]
    assert policy["spec"]["extAuth"]["extensionRef"]["name"] == extension["metadata"]["name"]
    assert policy["metadata"]["namespace"] == extension["metadata"]["namespace"]
    (grant,) = found["ReferenceGrant"]["spec"]["from"]
    assert grant["namespace"] == extension["metadata"]["namespace"]
    there = gate["grpcService"]["backendRef"]
    assert tls["metadata"]["namespace"] == there["namespace"]
    assert [target["name"] for target in tls["spec"]["targetRefs"]] == [there["name"]]
    return {
        "address": (there["name"], there["namespace"], there["port"]),
        "certificate": tls["spec"]["validation"]["hostname"],
        "timeout": gate["grpcService"]["requestTimeout"],
        "open": gate["failOpen"],
        "status": gate["statusOnError"],
        "headers": gate["headersToForward"],
    }


@needs_kubectl
@pytest.mark.parametrize("name", NAMES)
def test_a_fragment_asks_our_service(name: str) -> None:
    """Address, certificate name, timeout, failure mode, status and headers are ours."""
    found = asked(name)
    service = one(OVERLAY, "Service", "authz")
    where = service["metadata"]
    (port,) = service["spec"]["ports"]
    assert found["address"] == (where["name"], where["namespace"], port["port"])
    assert found["certificate"] == f"{where['name']}.{where['namespace']}.svc" == HOST
    assert milliseconds(found["timeout"]) == milliseconds(ASKING["grpc_service"]["timeout"])
    assert found["open"] is ASKING["failure_mode_allow"] is False
    assert found["status"] in (None, 503)
    headers = [pattern["exact"] for pattern in ASKING["allowed_headers"]["patterns"]]
    assert found["headers"] in (None, headers)


def test_an_unasked_route_of_contour_removes_every_identity_header() -> None:
    """Nothing else removes a client's identity headers there, so the list has all of them."""
    *_, unasked = fragment("contour")["HTTPProxy"]["spec"]["routes"]
    assert unasked["authPolicy"] == {"disabled": True}
    removed = unasked["requestHeadersPolicy"]["remove"]
    prefix = model.Settings().identity.header_prefix
    assert removed == [prefix + name for name in (*IDENTITY, *BESIDE_IDENTITY)]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_that_nobody_has_run_it(name: str) -> None:
    """Each page shows its fragment, and says that it follows the documentation only."""
    page = (ROOT / "docs" / "gateways" / f"{name}.md").read_text()
    assert f"<!--include deploy/gateways/{name}.yaml-->" in page
    assert "Nobody has run it" in " ".join(page.split())


@needs_kubectl
def test_the_service_meets_the_standards_of_the_overlays() -> None:
    """Its objects are valid, its pods restricted, and a NetworkPolicy selects each of them."""
    objects = built(OVERLAY)
    for version in (OLDEST, kubernetes_validate.latest_version()):
        standards.are_valid(objects, version)
    standards.are_restricted(objects)
    standards.have_a_network_policy(objects)
    standards.have_numbered_ports(objects, {6379})


@needs_kubectl
def test_the_service_listens_with_tls(tmp_path) -> None:
    """Its settings are those of the sidecars, with a TCP listener that has the mounted
    certificate."""
    file = tmp_path / "authz.yaml"
    file.write_text(settings(OVERLAY, "authz.yaml"))
    pod = pods(OVERLAY)["authz"]
    (container,) = pod["containers"]
    said = {variable["name"]: variable["value"] for variable in container["env"]}
    found = model.load(file, environ=said)
    assert found.check.listen == Address("0.0.0.0", PORT)
    assert found.check.tls is not None
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    opened = [found.check.tls.cert, found.check.tls.key, found.redis.password_file]
    opened += [found.cache.snapshot, *(pepper.file for pepper in found.keys.peppers)]
    assert {str(path.parent) for path in opened} <= mounted
    assert found.changed(check=model.Settings().check) == model.load(file, environ={}).changed(
        check=model.Settings().check
    )
    (toolbox,) = pods(OVERLAY)["authz-toolbox"]["containers"]
    standards.toolbox_fits(toolbox, file)
    sidecar = pods("standalone")["gateway"]["initContainers"][0]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe", "resources", "image"):
        assert container[kind] == sidecar[kind]
