"""The filter for LLM APIs in both mesh overlays and in the chart, from the parts of proxy/llm.py.

`python -m tests.support.deploy.chart` writes them, as it writes the rest of the chart.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from authz.proxy.llm import ENABLED, LUA, MODEL_SPACE, MOST_BYTES, NAME, SOURCE
from tests.support.deploy.manifests import K8S

EXAMPLE: Final = {"istio": "llm", "gateway": "httproute/default/llm/.*"}  # routes to be replaced
EXT_AUTHZ: Final = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
HEAD: Final = """\
# The filter for LLM APIs: it reads the model of a body before the Check, and the tokens of answers.
# It is off, and on at the routes that this file names: put yours in place of `llm`.
"""
BEFORE_CHECK: Final = """\
      match:
        context: GATEWAY
        listener:
          filterChain:
            filter:
              name: envoy.filters.network.http_connection_manager
              subFilter: { name: envoy.filters.http.ext_authz }
"""
MANAGER: Final = (
    "..filters[?match(@.name, 'envoy.filters.network.http_connection_manager')].typed_config"
)
OF_LISTENER: Final = """\
    - type: type.googleapis.com/envoy.config.listener.v3.Listener
      name: envoy-gateway-system/eg/http
      operation:
        op: add
"""
OF_ROUTES: Final = """\
    - type: type.googleapis.com/envoy.config.route.v3.RouteConfiguration
      name: envoy-gateway-system/eg/http
      operation:
        op: add
"""


def _filter(depth: int, source: str) -> str:
    """Return the HTTP filter as YAML, so many blanks deep. source: lines of Lua, not indented."""
    shift = " " * depth
    lines = ["name: " + NAME, "disabled: true", "typed_config:", f'  "@type": {LUA}']
    lines += ["  default_source_code:", "    inline_string: |"]
    return "".join(f"{shift}{line}\n" for line in lines) + _lua(depth + 6, source)


def _lua(depth: int, source: str) -> str:
    return "".join(f"{' ' * depth}{line}\n" if line else "\n" for line in source.splitlines())


def _istio_route(route: str) -> str:
    return f"""\
    # VirtualService: the name of its route. HTTPRoute: NAMESPACE.NAME.INDEX.
    - applyTo: HTTP_ROUTE
      match:
        context: GATEWAY
        routeConfiguration:
          vhost:
            route: {{ name: {route} }}
      patch:
        operation: MERGE
        value:
          request_body_buffer_limit: {MOST_BYTES}
          typed_per_filter_config:
            {NAME}:
              "@type": {ENABLED["@type"]}
              config: {{}}
"""


def istio(source: str, routes: str) -> str:
    """Return the EnvoyFilter. routes: its patches of routes."""
    return f"""\
{HEAD}apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: authz-llm
spec:
  workloadSelector:
    labels: {{ istio: ingress }}
  configPatches:
    - applyTo: HTTP_FILTER
{BEFORE_CHECK}\
      patch:
        operation: MERGE
        value:
          typed_config:
            "@type": {EXT_AUTHZ}
            metadata_context_namespaces: [{MODEL_SPACE}]
    - applyTo: HTTP_FILTER
{BEFORE_CHECK}\
      patch:
        operation: INSERT_BEFORE
        value:
{_filter(10, source)}{routes}"""


def _gateway_route(route: str) -> str:
    return f"""\
{OF_ROUTES}\
        jsonPath: "..routes[?match(@.name, '{route}')]"
        path: /typed_per_filter_config/{NAME}
        value:
          "@type": {ENABLED["@type"]}
          config: {{}}
{OF_ROUTES}\
        jsonPath: "..routes[?match(@.name, '{route}')]"
        path: /request_body_buffer_limit
        value: {MOST_BYTES}
"""


def gateway(source: str, routes: str) -> str:
    """Return the EnvoyPatchPolicy of Envoy Gateway. routes: its patches of routes."""
    return f"""\
{HEAD}# The name of a route of Envoy is httproute/NAMESPACE/NAME/rule/…
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata:
  name: authz-llm
spec:
  targetRef: {{ group: gateway.networking.k8s.io, kind: Gateway, name: eg }}
  type: JSONPatch
  jsonPatches:
{OF_LISTENER}\
        jsonPath: "{MANAGER}"
        path: /http_filters/0
        value:
{_filter(10, source)}\
{OF_LISTENER}\
        jsonPath: "..http_filters[?match(@.name, 'envoy.filters.http.ext_authz/.*')].typed_config"
        path: /metadata_context_namespaces
        value: [{MODEL_SPACE}]
{routes}"""


def overlays() -> Iterator[tuple[Path, str]]:
    """Yield the file of each overlay with its text, for one route."""
    yield K8S / "overlays/istio/llm.yaml", istio(SOURCE, _istio_route(EXAMPLE["istio"]))
    yield K8S / "overlays/gateway/llm.yaml", gateway(SOURCE, _gateway_route(EXAMPLE["gateway"]))


def parametrised(text: str, mode: str) -> str:
    """Return a file of `overlays` for the chart: Lua from a file, routes from the values."""
    one = _istio_route(EXAMPLE["istio"]) if mode == "istio" else _gateway_route(EXAMPLE["gateway"])
    inner = one.replace("{ name: llm }", "{ name: {{ $route | quote }} }")
    inner = inner.replace(EXAMPLE["gateway"], "{{ $route }}")
    every = f"    {{{{- range $route := $.Values.llm.routes }}}}\n{inner}    {{{{- end }}}}\n"
    lua = _lua(16, SOURCE)
    read = '{{- $.Files.Get "files/llm.lua" | nindent 16 }}\n'
    assert one in text
    assert lua in text
    return text.replace(one, every).replace(
        f"inline_string: |\n{lua}", f"inline_string: |\n{' ' * 16}{read}"
    )
