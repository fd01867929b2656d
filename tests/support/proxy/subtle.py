"""More faults of an Envoy configuration: those that are easily overlooked."""

import copy
from typing import Any

from authz.proxy.llm import llm_filter
from tests.support.proxy.faults import FAULTS, PER_ROUTE, Config, Fault
from tests.support.proxy.retry_faults import RETRIES
from tests.support.proxy.usage_faults import USAGE

FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
HEADER_MUTATION = (
    "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
)
MATCHED = "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher"
SKIP = "type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter"
HEADER = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
ELSEWHERE = {
    "resource_api_version": "V3",
    "api_config_source": {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "authz"}}],
    },
}
OFF = {"@type": PER_ROUTE, "disabled": True}


def host(config: Config) -> dict[str, Any]:
    """Return the virtual host."""
    return config.manager["route_config"]["virtual_hosts"][0]


def early(config: Config) -> list[Any]:
    """Return the early header mutations."""
    return config.manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"]


def trailer_mutations(config: Config) -> dict[str, Any]:
    """Return the mutations of the filter for trailers and upgrades."""
    return config.manager["http_filters"][1]["typed_config"]["mutations"]


def says(config: Config, extensions: dict[str, str]) -> dict[str, Any]:
    """Return a per-route configuration with context_extensions."""
    return {
        config.entry["name"]: {
            "@type": PER_ROUTE,
            "check_settings": {"context_extensions": extensions},
        }
    }


def exempt_in_a_wrapping(config: Config) -> None:
    """A FilterConfig disables the filter on a prefix."""
    config.exempt({"prefix": "/public/"})
    wrapped = {"@type": FILTER_CONFIG, "config": OFF}
    config.routes[0]["typed_per_filter_config"] = {config.entry["name"]: wrapped}


def exempt_cluster(config: Config) -> None:
    """The filter is disabled for one request in a hundred."""
    canary = {"name": "backend", "weight": 1}
    canary["typed_per_filter_config"] = {config.entry["name"]: OFF}
    config.routes[-1]["route"] = {
        "weighted_clusters": {"clusters": [{"name": "backend", "weight": 99}, canary]}
    }


def another_listener(config: Config) -> None:
    """A second listener has the same routes, but not the filter."""
    resources = config.whole["static_resources"]
    other = copy.deepcopy(resources["listeners"][0])
    other["name"] = "internal"
    other["address"]["socket_address"]["port_value"] = 10001
    manager = other["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["http_filters"][0]
    manager["stat_prefix"] = "internal"
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        route.pop("typed_per_filter_config", None)
    resources["listeners"].append(other)


def routes_from_elsewhere(config: Config) -> None:
    """The routes come from a control plane."""
    del config.manager["route_config"]
    config.manager["rds"] = {"route_config_name": "public", "config_source": ELSEWHERE}
    config.whole["node"] = {"id": "one", "cluster": "all"}


def marked(config: Config, permission: dict[str, Any]) -> None:
    """Check only requests that an RBAC filter marks, as Istio does."""
    policy = {"permissions": [permission], "principals": [{"any": True}]}
    shadow = {"action": "DENY", "policies": {"istio-ext-authz-ns[a]-policy[b]": policy}}
    rbac = {"@type": RBAC, "shadow_rules": shadow, "shadow_rules_stat_prefix": "istio_ext_authz_"}
    step = {"name": "envoy.filters.http.rbac", "typed_config": rbac}
    config.manager["http_filters"].insert(0, step)
    config.filter["filter_enabled_metadata"] = {
        "filter": "envoy.filters.http.rbac",
        "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": "istio-ext-authz"}},
    }


def within_another(config: Config) -> None:
    """A client header skips the filter."""
    header = {"name": "input", "typed_config": {"@type": HEADER, "header_name": "x-internal"}}
    skip = {"action": {"name": "skip", "typed_config": {"@type": SKIP}}}
    config.entry["typed_config"] = {
        "@type": MATCHED,
        "extension_config": {"name": "inner", "typed_config": config.filter},
        "xds_matcher": {
            "matcher_tree": {"input": header, "exact_match_map": {"map": {"true": skip}}}
        },
    }


def health(config: Config) -> dict[str, Any]:
    """Return the health check of the sidecars."""
    return config.cluster["health_checks"][0]


def by_connection(config: Config) -> None:
    """Check health by connection only."""
    health(config).pop("grpc_health_check")
    health(config)["tcp_health_check"] = {}


SUBTLE = [
    Fault(
        "a name of one's own",
        lambda c: c.routes[1].update(typed_per_filter_config=says(c, {"scope": "demo:read"})),
        "fail",
        "extensions",
        "context_extensions of api prefix /scoped: 'scope': there are",
    ),
    Fault(
        "a word of one's own",
        lambda c: host(c).update(typed_per_filter_config=says(c, {"auth": "none"})),
        "fail",
        "extensions",
        "context_extensions of host api: auth: 'none'",
    ),
    Fault(
        "a restriction by exact path",
        lambda c: c.routes[1].update(match={"path": "/scoped"}),
        "warn",
        "extensions",
        "avoid the restriction of api path /scoped",
    ),
    Fault(
        "gRPC callers unknown",
        lambda c: c.hide("content-type"),
        "warn",
        "carriers",
        "not shown content-type",
    ),
    Fault(
        "a proxy in front",
        lambda c: c.manager.update(xff_num_trusted_hops=1),
        "warn",
        "identity",
        "sees the proxy in front",
    ),
    Fault(
        "an exempt prefix in a wrapping",
        exempt_in_a_wrapping,
        "fail",
        "enabled",
        "api prefix /public/",
    ),
    Fault("an exempt canary", exempt_cluster, "fail", "enabled", "api prefix / to backend"),
    Fault("a forgotten listener", another_listener, "warn", "enabled", "internal: leads to"),
    Fault("routes from elsewhere", routes_from_elsewhere, "warn", "enabled", "(RDS public)"),
    Fault(
        "only what is marked",
        lambda c: marked(c, {"url_path": {"path": {"prefix": "/api/"}}}),
        "fail",
        "enabled",
        "what is not matched by istio-ext-authz-ns[a]-policy[b]",
    ),
    Fault(
        "all but what is marked",
        lambda c: marked(c, {"not_rule": {"url_path": {"path": {"prefix": "/public"}}}}),
        "fail",
        "enabled",
        "what is not matched by",
    ),
    Fault(
        "marked by nobody",
        lambda c: (marked(c, {"any": True}), c.manager["http_filters"].pop(0)),
        "warn",
        "enabled",
        "metadata of envoy.filters.http.rbac",
    ),
    Fault("left out by a header", within_another, "warn", "enabled", "within another filter"),
    Fault(
        "another service for a route",
        lambda c: c.routes[1]["typed_per_filter_config"][c.entry["name"]]["check_settings"].update(
            grpc_service={"envoy_grpc": {"cluster_name": "backend"}}
        ),
        "warn",
        "service",
        "api prefix /scoped asks another service",
    ),
    Fault(
        "bodies",
        lambda c: c.filter.update(with_request_body={"max_request_bytes": 8192}),
        "warn",
        "service",
        "bodies are held back",
    ),
    Fault(
        "a key in capitals",
        lambda c: c.filter["allowed_headers"].update(
            patterns=[{"exact": "X-Api-Key"}, {"exact": "authorization"}, {"exact": "origin"}]
        ),
        "fail",
        "carriers",
        "not shown x-api-key",
    ),
    Fault(
        "a key taken away early",
        lambda c: early(c).append({"remove": "Authorization"}),
        "fail",
        "carriers",
        "authorization is removed before",
    ),
    Fault(
        "stripped in capitals",
        lambda c: early(c)[0]["remove_on_match"].update(key_matcher={"prefix": "X-Auth-"}),
        "fail",
        "identity",
        "x-auth-* of a client is not removed",
    ),
    Fault(
        "stripped in part",
        lambda c: early(c).__setitem__(0, {"remove": "x-auth-client-id"}),
        "fail",
        "identity",
        "x-auth-tenant-id",
    ),
    Fault(
        "stripped too late for a host",
        lambda c: host(c).update(request_headers_to_remove=["X-Auth-Scopes"]),
        "fail",
        "identity",
        "host api removes X-Auth-Scopes, after authz set it",
    ),
    Fault(
        "overwritten",
        lambda c: c.routes[-1].update(
            request_headers_to_add=[
                {"header": {"key": "x-auth-client-id", "value": "%REQ(x-client)%"}}
            ]
        ),
        "warn",
        "identity",
        "api prefix / sets x-auth-client-id",
    ),
    Fault(
        "very patient",
        lambda c: c.filter["grpc_service"].update(timeout="600s"),
        "warn",
        "timeouts",
        "waits up to 600s",
    ),
    Fault("health by connection", by_connection, "warn", "cluster", "passes the health check"),
    Fault(
        "health of a stranger",
        lambda c: health(c)["grpc_health_check"].update(service_name="authz"),
        "warn",
        "cluster",
        "knows no authz",
    ),
    Fault(
        "slow health checks",
        lambda c: health(c).update(interval="5s", unhealthy_threshold=3),
        "warn",
        "cluster",
        "noticed after 15s, later than shutdown.delay (5s)",
    ),
    Fault(
        "a breaker for others",
        lambda c: c.cluster["circuit_breakers"]["thresholds"][0].update(priority="HIGH"),
        "warn",
        "cluster",
        "circuit breaker",
    ),
    Fault(
        "trailers of clients",
        lambda c: c.manager["http_filters"].pop(1),
        "warn",
        "trailers",
        "in a client's trailers reaches",
    ),
    Fault(
        "trailers of another prefix",
        lambda c: trailer_mutations(c)["request_trailers_mutations"][0]["remove_on_match"][
            "key_matcher"
        ].update(prefix="x-other-"),
        "warn",
        "trailers",
        "in a client's trailers reaches",
    ),
    Fault(
        "tokens of an upgrade",
        lambda c: (
            trailer_mutations(c).pop("request_mutations"),
            c.manager.update(upgrade_configs=[{"upgrade_type": "websocket"}]),
        ),
        "warn",
        "trailers",
        "every token of its Connection",
    ),
    Fault(
        "tokens of an upgrade on one route",
        lambda c: (
            trailer_mutations(c)["request_mutations"][0]["append"].pop("append_action"),
            c.routes[-1]["route"].update(upgrade_configs=[{"upgrade_type": "websocket"}]),
        ),
        "warn",
        "trailers",
        "every token of its Connection",
    ),
    Fault(
        "another client",
        lambda c: c.filter["grpc_service"].update(
            envoy_grpc=None,
            google_grpc={"target_uri": "unix:/run/authz/check.sock", "stat_prefix": "authz"},
        ),
        "warn",
        "cluster",
        "google_grpc",
    ),
    Fault(
        "logs keys if there is nothing else",
        lambda c: c.manager["access_log"][0]["typed_config"]["log_format"]["json_format"].update(
            who="%REQ(X-USER?AUTHORIZATION):20%"
        ),
        "fail",
        "secrecy",
        "holds authorization",
    ),
    Fault(
        "logs keys over gRPC",
        lambda c: c.manager["access_log"].append(
            {
                "name": "envoy.access_loggers.http_grpc",
                "typed_config": {
                    "@type": "type.googleapis.com/"
                    "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
                    "common_config": {
                        "log_name": "all",
                        "transport_api_version": "V3",
                        "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}},
                    },
                    "additional_request_headers_to_log": ["X-Api-Key"],
                },
            }
        ),
        "fail",
        "secrecy",
        "holds x-api-key",
    ),
    Fault(
        "traces keys",
        lambda c: c.manager.update(
            tracing={"custom_tags": [{"tag": "key", "request_header": {"name": "x-api-key"}}]}
        ),
        "fail",
        "secrecy",
        "every trace holds x-api-key",
    ),
]

LLM = [
    Fault(
        "a filter for LLMs that stands after authz",
        lambda c: c.manager["http_filters"].insert(1, llm_filter() | {"disabled": False}),
        "warn",
        "llm",
        "stands after ext_authz",
    ),
]

ALL = [*FAULTS, *SUBTLE, *RETRIES, *USAGE, *LLM]
