"""Faults that people make in an Envoy configuration: each is a copy of envoy.yaml with one."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ORIGINAL = Path(__file__).parents[3] / "envoy.yaml"
HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"


class Config:
    """A copy of envoy.yaml and its parts, to be changed by a test."""

    def __init__(self) -> None:
        self.whole: dict[str, Any] = yaml.safe_load(ORIGINAL.read_text())
        resources = self.whole["static_resources"]
        chain = resources["listeners"][0]["filter_chains"][0]
        self.manager: dict[str, Any] = chain["filters"][0]["typed_config"]
        self.entry: dict[str, Any] = self.manager["http_filters"][0]
        self.filter: dict[str, Any] = self.entry["typed_config"]
        self.routes: list[Any] = self.manager["route_config"]["virtual_hosts"][0]["routes"]
        self.cluster: dict[str, Any] = resources["clusters"][0]
        options = self.cluster["typed_extension_protocol_options"][HTTP2]
        self.http2: dict[str, Any] = options["explicit_http_config"]["http2_protocol_options"]

    def exempt(self, match: dict[str, Any]) -> None:
        """Add a first route to the backend, with the filter disabled."""
        off = {self.entry["name"]: {"@type": PER_ROUTE, "disabled": True}}
        route = {"match": match, "route": {"cluster": "backend"}, "typed_per_filter_config": off}
        self.routes.insert(0, route)

    def hide(self, name: str) -> None:
        """Take a header out of allowed_headers."""
        patterns = self.filter["allowed_headers"]["patterns"]
        patterns[:] = [pattern for pattern in patterns if pattern["exact"] != name]


@dataclass(frozen=True)
class Fault:
    """A fault, and the expected finding: level, check, a piece of the text."""

    name: str
    spoil: Callable[[Config], Any]
    level: str
    check: str
    text: str

    def config(self) -> dict[str, Any]:
        """Return a copy of envoy.yaml with the fault."""
        config = Config()
        self.spoil(config)
        return copy.deepcopy(config.whole)


def rules(config: Config) -> dict[str, Any]:
    """Return the mutation rules for authz."""
    return config.filter["decoder_header_mutation_rules"]


def strip(config: Config, prefix: str) -> None:
    """Remove another prefix from client headers."""
    extension = config.manager["early_header_mutation_extensions"][0]["typed_config"]
    extension["mutations"][0]["remove_on_match"]["key_matcher"]["prefix"] = prefix


def scopes_only(config: Config) -> None:
    """Disable the filter except on routes that enable it."""
    config.entry["disabled"] = True


def without_http2(config: Config) -> None:
    """Let the cluster use HTTP/1, with a health check by connection."""
    config.cluster.pop("typed_extension_protocol_options")
    check = config.cluster["health_checks"][0]
    check.pop("grpc_health_check")
    check["tcp_health_check"] = {}


FAULTS = [
    Fault(
        "asks over HTTP",
        lambda c: (
            c.filter.pop("grpc_service"),
            c.filter.update(
                http_service={
                    "server_uri": {
                        "uri": "http://127.0.0.1:9191",
                        "cluster": "authz",
                        "timeout": "1s",
                    }
                }
            ),
        ),
        "fail",
        "service",
        "asks over HTTP",
    ),
    Fault(
        "HTTP/1 cluster",
        without_http2,
        "fail",
        "service",
        "does not speak HTTP/2",
    ),
    Fault(
        "fails open",
        lambda c: c.filter.update(failure_mode_allow=True),
        "fail",
        "failures",
        "lets everybody in",
    ),
    Fault("fails with 403", lambda c: c.filter.pop("status_on_error"), "warn", "failures", "(403)"),
    Fault(
        "shadow mode",
        lambda c: c.filter.update(shadow_mode=True),
        "fail",
        "enabled",
        "denies nobody",
    ),
    Fault(
        "some requests",
        lambda c: c.filter.update(filter_enabled={"default_value": {"numerator": 50}}),
        "fail",
        "enabled",
        "unchecked",
    ),
    Fault(
        "an exempt prefix",
        lambda c: c.exempt({"prefix": "/public/"}),
        "fail",
        "enabled",
        "api prefix /public/",
    ),
    Fault(
        "an exempt regex",
        lambda c: c.exempt({"safe_regex": {"regex": "/v[12]/docs.*"}}),
        "fail",
        "enabled",
        "api regex /v[12]/docs",
    ),
    Fault("off by default", scopes_only, "fail", "enabled", "api prefix /"),
    Fault(
        "paths as they come",
        lambda c: c.manager.pop("normalize_path"),
        "fail",
        "paths",
        "not normalised",
    ),
    Fault("double slashes", lambda c: c.manager.pop("merge_slashes"), "warn", "paths", "//admin"),
    Fault(
        "escaped slashes",
        lambda c: c.manager.update(path_with_escaped_slashes_action="KEEP_UNCHANGED"),
        "warn",
        "paths",
        "%2F",
    ),
    Fault(
        "no validation",
        lambda c: c.filter.pop("validate_mutations"),
        "fail",
        "mutations",
        "not validated",
    ),
    Fault(
        "routes again",
        lambda c: c.filter.update(clear_route_cache=True),
        "warn",
        "mutations",
        "another route",
    ),
    Fault(
        "may change all",
        lambda c: c.filter.pop("decoder_header_mutation_rules"),
        "warn",
        "mutations",
        "any header",
    ),
    Fault(
        "may not remove a key",
        lambda c: rules(c).update(allow_expression={"regex": "^(x-auth-[a-z-]+|x-api-key)$"}),
        "fail",
        "mutations",
        "may not change authorization",
    ),
    Fault(
        "may not identify",
        lambda c: rules(c).update(
            allow_expression={"regex": "^(x-user-.+|x-api-key|authorization)$"}
        ),
        "fail",
        "mutations",
        "may not change x-auth-client-id",
    ),
    Fault(
        "drops in silence",
        lambda c: rules(c).pop("disallow_is_error"),
        "warn",
        "mutations",
        "in silence",
    ),
    Fault(
        "key not shown", lambda c: c.hide("x-api-key"), "fail", "carriers", "not shown x-api-key"
    ),
    Fault(
        "key withheld",
        lambda c: c.filter.update(disallowed_headers={"patterns": [{"exact": "authorization"}]}),
        "fail",
        "carriers",
        "not shown authorization",
    ),
    Fault("origin not shown", lambda c: c.hide("origin"), "warn", "carriers", "not shown origin"),
    Fault(
        "nothing stripped",
        lambda c: c.manager.pop("early_header_mutation_extensions"),
        "fail",
        "identity",
        "is not removed (nothing)",
    ),
    Fault(
        "another prefix stripped",
        lambda c: strip(c, "x-user-"),
        "fail",
        "identity",
        "is not removed (only x-user-)",
    ),
    Fault(
        "underscores",
        lambda c: c.manager["common_http_protocol_options"].pop("headers_with_underscores_action"),
        "warn",
        "identity",
        "x_auth_*",
    ),
    Fault(
        "stripped too late",
        lambda c: c.routes[-1].update(request_headers_to_remove=["x-auth-client-id"]),
        "fail",
        "identity",
        "after authz set it",
    ),
    Fault(
        "impatient",
        lambda c: c.filter["grpc_service"].update(timeout="0.04s"),
        "fail",
        "timeouts",
        "gives up after 0.04s",
    ),
    Fault(
        "waits for ever",
        lambda c: c.filter["grpc_service"].update(timeout="0s"),
        "warn",
        "timeouts",
        "for ever",
    ),
    Fault(
        "no health checks",
        lambda c: c.cluster.pop("health_checks"),
        "warn",
        "cluster",
        "no health checks",
    ),
    Fault(
        "rare health checks",
        lambda c: c.cluster["health_checks"][0].pop("no_traffic_interval"),
        "warn",
        "cluster",
        "for a minute",
    ),
    Fault(
        "no keepalive",
        lambda c: c.http2.pop("connection_keepalive"),
        "warn",
        "cluster",
        "keepalive",
    ),
    Fault(
        "narrow breaker",
        lambda c: c.cluster.pop("circuit_breakers"),
        "warn",
        "cluster",
        "circuit breaker",
    ),
    Fault(
        "logs keys",
        lambda c: c.manager["access_log"][0]["typed_config"]["log_format"]["json_format"].update(
            key="%REQ(X-API-KEY)%"
        ),
        "fail",
        "secrecy",
        "holds x-api-key",
    ),
]
