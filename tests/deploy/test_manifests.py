"""The manifests are valid, locked down, and agree with the settings and envoy.yaml."""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from authz.core.finding import Level
from authz.proxy.document import read
from authz.proxy.headers import IDENTITY
from authz.proxy.rules import examine
from authz.settings import model
from tests.support.deploy.manifests import (
    K8S,
    OLDEST,
    OVERLAYS,
    built,
    containers,
    needs_kubectl,
    of_kind,
    one,
    pods,
    settings,
)
from tests.support.proxy.envoys import validate
from tests.support.proxy.faults import ORIGINAL
from tests.support.proxy.report import DEFAULTS, problems
from tests.support.real import Valkey

NEWEST = kubernetes_validate.latest_version()
# API groups without a schema in kubernetes-validate.
OTHERS = ("istio.io", "gateway.envoyproxy.io")

pytestmark = needs_kubectl
overlays = pytest.mark.parametrize("overlay", OVERLAYS)


def seconds(text: str) -> float:
    """Return a duration such as 20s in seconds."""
    return float(text.removesuffix("s"))


@overlays
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_valid(overlay: str, version: str):
    """Every object fits the strict schema of the oldest and the newest Kubernetes."""
    own = [o for o in built(overlay) if not o["apiVersion"].split("/")[0].endswith(OTHERS)]
    assert len(own) >= 4
    for found in own:
        kubernetes_validate.validate(found, version, strict=True)


@overlays
def test_every_pod_is_restricted(overlay: str):
    """Every pod fits PodSecurity `restricted` and has a read-only root."""
    for pod in pods(overlay).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "latest" not in container["image"]


@overlays
def test_the_toolbox_differs_from_a_sidecar_only_in_its_user(overlay: str, tmp_path: Path):
    """The toolbox has the settings of the sidecars and another user of the store."""
    users = (K8S.parent / "redis" / "users.acl").read_text()
    (tmp_path / "authz.yaml").write_text(settings(overlay, "authz.yaml"))
    (toolbox,) = pods(overlay)["authz-toolbox"]["containers"]
    said = {variable["name"]: variable["value"] for variable in toolbox["env"]}
    sidecar = model.load(tmp_path / "authz.yaml", environ={})
    admin = model.load(tmp_path / "authz.yaml", environ=said)
    for found in (sidecar, admin):
        assert f"user {found.redis.username} " in users
    assert admin.redis.username == "authz-admin"
    changed = {"redis", "keys"}
    assert admin.model_dump(exclude=changed) == sidecar.model_dump(exclude=changed)
    assert (admin.redis.url, admin.keys) == (sidecar.redis.url, sidecar.keys)
    mounted = {mount["mountPath"] for mount in toolbox["volumeMounts"]}
    opened = [admin.redis.password_file, *(pepper.file for pepper in admin.keys.peppers)]
    assert {str(file.parent) for file in opened} <= mounted


@pytest.mark.parametrize("overlay", ["standalone", "istio"])
def test_the_sidecar_fits_its_settings(overlay: str, tmp_path: Path):
    """Probes use the health port, every opened file is mounted, and no other secret is."""
    (tmp_path / "authz.yaml").write_text(settings(overlay, "authz.yaml"))
    found = model.load(tmp_path / "authz.yaml", environ={})
    pod = pods(overlay)["gateway"]
    (sidecar,) = pod["initContainers"]
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


def test_envoy_gateway_has_the_same_sidecar():
    """The sidecar in the EnvoyProxy equals the sidecar in the Deployment."""
    patched = one("gateway", "EnvoyProxy", "authz")["spec"]["provider"]["kubernetes"]
    pod = patched["envoyDeployment"]["patch"]["value"]["spec"]["template"]["spec"]
    own = pods("standalone")["gateway"]
    assert pod["initContainers"] == own["initContainers"]
    assert pod["securityContext"]["fsGroup"] == own["securityContext"]["fsGroup"]
    assert pod["volumes"] == [volume for volume in own["volumes"] if volume["name"] != "envoy"]


def manager_of(document: dict) -> dict:
    """Return the HTTP connection manager of an Envoy configuration."""
    listener = document["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def merged(base, patch):
    """Merge two protobuf messages as MERGE does."""
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return base + patch if isinstance(base, list) and isinstance(patch, list) else patch
    return base | {name: merged(base.get(name), value) for name, value in patch.items()}


def istio_makes() -> dict:
    """Return the configuration that Istio renders from the provider in mesh.yaml."""
    mesh = yaml.safe_load((K8S / "overlays/istio/mesh.yaml").read_text())["meshConfig"]
    (provider,) = mesh["extensionProviders"]
    asked = provider["envoyExtAuthzGrpc"]
    namespace, host = asked["service"].split("/")
    assert namespace == one("istio", "ServiceEntry", "authz")["metadata"]["namespace"]
    assert [host] == one("istio", "ServiceEntry", "authz")["spec"]["hosts"]
    document = yaml.safe_load(ORIGINAL.read_text())
    manager = manager_of(document)
    for name in (
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
    cluster = document["static_resources"]["clusters"][0]
    for part in ("health_checks", "typed_extension_protocol_options", "outlier_detection"):
        del cluster[part]
    cluster["name"] = cluster["load_assignment"]["cluster_name"] = name
    return document


def test_the_envoy_filter_completes_the_configuration_of_istio(tmp_path: Path):
    """With the EnvoyFilter the configuration is valid, and the doctor finds no problem."""
    document = istio_makes()
    before = {f.check for f in examine([document], DEFAULTS) if f.level is Level.FAIL}
    assert before == {"service", "mutations", "identity"}
    targets = {
        "NETWORK_FILTER": (manager_of(document), None),
        "HTTP_FILTER": (manager_of(document)["http_filters"][0], "typed_config"),
        "CLUSTER": (document["static_resources"]["clusters"][0], None),
    }
    for patch in one("istio", "EnvoyFilter", "authz")["spec"]["configPatches"]:
        assert patch["patch"]["operation"] == "MERGE"
        value = patch["patch"]["value"]
        target, _ = targets[patch["applyTo"]]
        value = value["typed_config"] if patch["applyTo"] == "NETWORK_FILTER" else value
        target |= merged(target, value)
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
    """Each identity header of a client is removed by its name."""
    headers = one("gateway", "ClientTrafficPolicy", "authz")["spec"]["headers"]
    partial = ["x-envoy-auth-failure-mode-allowed", "x-envoy-auth-partial-body"]
    removed = [f"x-auth-{name}" for name in IDENTITY] + partial
    assert headers["earlyRequestHeaders"]["remove"] == removed


@pytest.mark.parametrize("overlay", ["istio", "gateway"])
def test_authz_receives_the_same_headers(overlay: str):
    """The overlay sends authz the headers that envoy.yaml sends."""
    ours = manager_of(yaml.safe_load(ORIGINAL.read_text()))["http_filters"][0]["typed_config"]
    wanted = [pattern["exact"] for pattern in ours["allowed_headers"]["patterns"]]
    if overlay == "gateway":
        shown = one("gateway", "SecurityPolicy", "authz")["spec"]["extAuth"]["headersToExtAuth"]
    else:
        (patch, *_) = one("istio", "EnvoyFilter", "authz")["spec"]["configPatches"]
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
    numbers = set()
    for policy in of_kind(overlay, "NetworkPolicy"):
        rules = [*policy["spec"]["ingress"], *policy["spec"].get("egress", ())]
        numbers |= {port["port"] for rule in rules for port in rule["ports"]}
    assert {type(number) for number in numbers} == {int}
    listening = {
        port["containerPort"]
        for pod in pods(overlay).values()
        for container in containers(pod)
        for port in container.get("ports", ())
    }
    assert numbers - {53, 6379} <= listening
