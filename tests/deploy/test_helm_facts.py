"""The Helm chart has the facts of the overlays: all differences are listed, with their reason."""

import re

import yaml

from tests.support.deploy.helm import (
    SETS,
    by_component,
    differences,
    named,
    needs_helm,
    rendered,
)
from tests.support.deploy.manifests import K8S, built, needs_kubectl

pytestmark = [needs_helm, needs_kubectl]

# Overlay, set of values, and namespace of the overlay.
PAIRS = [
    ("standalone", "standalone", "authz"),
    ("istio", "istio", "istio-ingress"),
    ("gateway", "envoy-gateway", "envoy-gateway-system"),
    ("meter", "meters", "authz"),
]
# Names in kustomize, and those of a release `authz`.
NAMES = {
    "gateway": "authz-gateway",
    "gateway-envoy": "authz-envoy",
    "usage-records": "authz-usage",
    "valkey": "authz-valkey",
}
# Every difference between an overlay and the chart, with its reason.
DIFFERENCES = {
    r"metadata\.name|serviceName|configMap\.name": "a name begins with that of the release",
    r"metadata\.namespace": "helm installs into the namespace of the release",
    r"metadata\.labels": "every object has the labels that Helm recommends",
    r"(labels|matchLabels|selector)\.istio": "each release has a gateway of its own",
    r"annotations(\.checksum/settings)?|EnvoyProxy/authz .*template\.metadata": "kustomize "
    "replaces pods by a hash in the name of the ConfigMap, the chart by an annotation",
    r"imagePullPolicy": "a value of the chart",
    r"Service/authz-gateway spec\.type": "a value of the chart; ClusterIP is the default",
    r"ConfigMap/authz-settings data\.authz\.yaml": "the same settings without comments",
    r"env\[AUTHZ_KEYS__PEPPERS\]\.value": "the same JSON without blanks",
    r"NetworkPolicy/authz-valkey spec\.ingress\[0\]\.from\[3\]": "only the chart has the admin API",
    r"Deployment/authz-meter .*(env\[AUTHZ_REDIS__URL\]|\[settings\])": "the meter reads the "
    "settings of the release, so that retention and the TLS of the store hold for it too",
    r"volumes\[token\]\.secret\.items": "the Secret also has the token that Envoy sends",
    r"Service/authz-usage spec\.ports\[metrics\]": "for the ServiceMonitor",
}
# Objects of only one of them.
ALONE = {
    "Namespace/authz": "helm makes it, with --create-namespace",
    "Namespace/istio-ingress": "helm makes it, with --create-namespace",
    "ConfigMap/authz-mesh": "mesh.yaml with the names of the release",
    "ConfigMap/authz-envoy": "the overlay for Istio renders one that no pod mounts",
}


def differing(overlay: str, name: str, namespace: str) -> list[str]:
    """Return `KIND/NAME path` of each value in which an overlay differs from the chart."""
    theirs = {}
    for key, found in named(built(overlay)).items():
        kind, _, short = key.partition("/")
        theirs[f"{kind}/{NAMES.get(short, short)}"] = found
    ours = named(rendered(SETS[name], namespace=namespace))
    alone = theirs.keys() - ours.keys()
    if overlay != "meter":  # a kustomization beside an installation, which the chart has in one
        alone |= ours.keys() - theirs.keys()
    assert alone <= ALONE.keys()
    return [
        f"{key} {path}"
        for key in sorted(theirs.keys() & ours.keys())
        for path in differences(by_component(theirs[key]), by_component(ours[key]))
    ]


def test_the_facts_are_those_of_the_overlays() -> None:
    """Images, ports, probes, security, volumes and policies equal; each difference is listed."""
    found = [path for pair in PAIRS for path in differing(*pair)]
    expected = [re.compile(rf"(^|[ .])({pattern})$") for pattern in DIFFERENCES]
    assert [path for path in found if not any(p.search(path) for p in expected)] == []
    unused = [p.pattern for p in expected if not any(p.search(path) for path in found)]
    assert unused == []


def test_the_mesh_gets_the_providers_of_the_overlay() -> None:
    """The ConfigMap has mesh.yaml of the overlay, for the namespace of the release."""
    found = named(rendered(SETS["istio"], namespace="istio-ingress"))["ConfigMap/authz-mesh"]
    assert yaml.safe_load(found["data"]["mesh.yaml"]) == yaml.safe_load(
        (K8S / "overlays/istio/mesh.yaml").read_text()
    )
