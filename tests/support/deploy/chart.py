"""Generated parts of the Helm chart: `python -m tests.support.deploy.chart` writes them anew.

`files/` are copies of shipped files. The templates for Istio and Envoy Gateway are the kustomize
overlays with the names of a release. The other templates are written by hand.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.deploy import llm
from tests.support.deploy.manifests import K8S
from tests.support.docs import ROOT

CHART: Final = ROOT / "deploy" / "helm" / "authz"
FULL: Final = '{{ include "authz.fullname" . }}'
COPIES: Final = {
    "envoy.yaml": K8S / "base" / "envoy.yaml",
    "authz.yaml": K8S / "common" / "authz.yaml",
    "authz.rules.yaml": ROOT / "deploy" / "prometheus" / "authz.rules.yaml",
    "llm.lua": ROOT / "authz" / "proxy" / "llm.lua",
}
# Texts of the overlays and those of a template, in this order. FULL is the name of the release.
NAMES: Final = (
    (r"\bauthz(-usage)?\.local\b", rf"{FULL}\1.local"),
    (r"(?m)^((?:  | +- | {4})name: )authz(-[a-z-]+)?$", rf"\1{FULL}\2"),
    (r"(?m)^(  name: )gateway$", rf"\1{FULL}-gateway"),
    (r"(?m)^(  name: )usage-records$", rf"\1{FULL}-usage"),
    (r"(kind: Backend, name: )authz(-usage)? }", rf"\1{FULL}\2 }}"),
    (r"\bistio: ingress\b", f"istio: {FULL}-gateway"),
    (r"\bservice: istio-ingress/", "service: {{ .Release.Namespace }}/"),
    (r"(kind: Gateway, name: )eg }", r"\1{{ .Values.envoyGateway.gateway }} }"),
    (r"(owning-gateway-name: )eg\b", r"\1{{ .Values.envoyGateway.gateway }}"),
    (r"(owning-gateway-namespace: )envoy-gateway-system", r"\1{{ .Release.Namespace }}"),
    (r"\bname: envoy-gateway-system/eg/http\b", "name: {{ $listener }}"),
    (
        r"\bname: securitypolicy/envoy-gateway-system/authz/",
        f"name: securitypolicy/{{{{ .Release.Namespace }}}}/{FULL}/",
    ),
)
LISTENERS: Final = (
    '{{- range $listener := .Values.envoyGateway.listeners | default (list (printf "%s/%s/http" '
    ".Release.Namespace .Values.envoyGateway.gateway)) }}"
)
LABELS: Final = '  labels:\n    {{- include "authz.labels" (list . "gateway") | nindent 4 }}\n'
PROXY_MARKS: Final = """\
                metadata:
                  annotations:
                    {{- include "authz.checksum" . | nindent 20 }}
"""
# The pod of an EnvoyProxy: the containers and volumes of every gateway.
PROXY_POD: Final = """\
                spec:
                  {{- include "authz.pullSecrets" . | indent 18 }}
                  securityContext:
                    runAsNonRoot: true
                    seccompProfile: { type: RuntimeDefault }
                    fsGroup: 65532
                  initContainers:
                    {{- include "authz.initContainers" . | nindent 20 }}
                  containers:
                    - name: envoy
                      volumeMounts:
                        - { name: run, mountPath: /run/authz }
                  volumes:
                    {{- include "authz.gatewayVolumes" . | nindent 20 }}
"""


def template(overlay: str, file: str, *, condition: str = "") -> str:
    """Return the template of a file of an overlay, rendered in the mode of that overlay only."""
    text = (K8S / "overlays" / overlay / file).read_text()
    if file == "proxy.yaml":
        text = _proxy(text)
    if file == "mesh.yaml":
        text = _config_map(text)
    if file == "llm.yaml":
        text = llm.parametrised(text, overlay)
    for pattern, name in NAMES:
        text = re.sub(pattern, name, text)
    text = re.sub(r"(?m)^metadata:\n  name: .*\n", rf"\g<0>{LABELS}", text)
    if file in {"policy.yaml", "llm.yaml"} and overlay == "gateway":
        text = _for_each_listener(text)
    if file == "network.yaml":
        text = _metrics_of_a_meter(text)
    mode = "envoy-gateway" if overlay == "gateway" else overlay
    test = f'eq .Values.mode "{mode}"'
    test = f"and ({test}) {condition}" if condition else test
    origin = f"# Generated from deploy/k8s/overlays/{overlay}/{file}.\n"
    return f"{{{{- if {test} }}}}\n{origin}{text}{{{{- end }}}}\n"


def _proxy(text: str) -> str:
    before, found, _ = text.partition("                spec:\n                  securityContext:")
    assert found
    before = before.replace("; a test keeps both equal", "")
    before = before.replace("replicas: 3", "replicas: {{ .Values.gateway.replicas }}")
    template = "              template:\n"
    return before.replace(template, template + PROXY_MARKS) + PROXY_POD


def _config_map(text: str) -> str:
    inside = "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: authz-mesh\ndata:\n  mesh.yaml: |\n"
    return re.sub(r"(?m)^( +- name: )authz(-[a-z-]+)?$", rf"\1{FULL}\2", head + inside)


def _for_each_listener(text: str) -> str:
    parts = text.split("---\n")
    for number, part in enumerate(parts):
        if "name: {{ $listener }}" in part:
            opened = part.replace("  jsonPatches:\n", f"  jsonPatches:\n    {LISTENERS}\n")
            parts[number] = f"{opened}    {{{{- end }}}}\n"
    return "---\n".join(parts)


def _metrics_of_a_meter(text: str) -> str:
    ports = "    - ports: [{ port: 9192 }, { port: 19001 }]\n"
    assert ports in text
    written = """\
    - ports:
        - { port: 9192 }
        - { port: 19001 }
        {{- if eq .Values.meter.mode "pod" }}
        - { port: 9196 }
        {{- end }}
"""
    labels = '            matchLabels: { authz/monitoring: "true" }\n'
    assert labels in text
    ours = """\
            matchLabels:
              {{- toYaml .Values.networkPolicy.monitoringNamespace | nindent 14 }}
"""
    return text.replace(ports, written).replace(labels, ours)


def generated() -> Iterator[tuple[Path, str]]:
    """Yield each generated file of the chart with the text that it should have."""
    for name, source in COPIES.items():
        yield CHART / "files" / name, source.read_text()
    for source in sorted((ROOT / "deploy" / "grafana").glob("*.json")):
        yield CHART / "files" / "dashboards" / source.name, source.read_text()
    yield from llm.overlays()
    for mode, folder in (("istio", "istio"), ("gateway", "envoy-gateway")):
        yield (
            CHART / "templates" / folder / "llm.yaml",
            template(mode, "llm.yaml", condition=".Values.llm.routes"),
        )
    for file in ("policy.yaml", "envoyfilter.yaml", "cors.yaml", "usage.yaml", "mesh.yaml"):
        yield CHART / "templates" / "istio" / file, template("istio", file)
    for file in ("policy.yaml", "proxy.yaml"):
        yield CHART / "templates" / "envoy-gateway" / file, template("gateway", file)
    enabled = ".Values.networkPolicy.enabled"
    yield (
        CHART / "templates" / "envoy-gateway" / "network.yaml",
        template("gateway", "network.yaml", condition=enabled),
    )


if __name__ == "__main__":
    for file, text in generated():
        if not file.exists() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            sys.stdout.write(f"{file.relative_to(ROOT)}\n")
