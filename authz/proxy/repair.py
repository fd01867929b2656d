"""Change a configuration so that the rules find no problem, as far as that needs no decision.

A person has to decide about exempt routes, other listeners, and keys in access logs. The changes
are made in place, and only where a rule reports a problem: a second run changes nothing.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

from authz.core.finding import Level
from authz.core.methods import METHOD_OVERRIDES
from authz.proxy import headers, rules
from authz.proxy.chains import Chain, Expected, chains
from authz.proxy.cluster import HEALTH_SERVICE, cluster, http2
from authz.proxy.document import Message, at, is_on, items, kind_of, list_in, within
from authz.proxy.llm import MODEL_SPACE, NAME, SOURCE, llm, llm_filter
from authz.proxy.matching import fits
from authz.proxy.overrides import HOSTS, PATHS, overrides
from authz.proxy.problem import Problem
from authz.proxy.retries import HTTP_OPTIONS, notice_dead_endpoints, retries, retry_policy
from authz.proxy.trailers import trailers
from authz.proxy.usage import usage
from authz.proxy.usage_logger import mend_usage

TYPES: Final = "type.googleapis.com/envoy.extensions"
EARLY: Final = f"{TYPES}.http.early_header_mutation.header_mutation.v3.HeaderMutation"
MUTATION: Final = f"{TYPES}.filters.http.header_mutation.v3.HeaderMutation"
ROUTER: Final = "router.v3.Router"
SHOWN: Final = (
    "origin",
    "content-type",
    "x-request-id",
    *METHOD_OVERRIDES,
    "x-envoy-external-address",
    "traceparent",
)

HEALTH_CHECK: Final = {
    "timeout": "0.5s",
    "interval": "1s",
    "no_traffic_interval": "1s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
    "grpc_health_check": {"service_name": HEALTH_SERVICE},
}

Node = dict[str, Any]
Rule = Callable[[Chain, Expected], Iterator[Problem]]


def repair(documents: Sequence[Any], expected: Expected) -> None:
    """Change every ext_authz filter, its connection manager and its cluster in place.

    Each change is made only if its rule reports a problem. Without an ext_authz filter nothing
    changes.
    """
    for chain in chains(documents):
        for rule, mend in _MENDING:
            if any(True for _ in rule(chain, expected)):
                mend(chain, expected)
        if any(True for _ in usage(chain, expected)):
            mend_usage(documents, chain)


def _node(message: Message, *path: str) -> Node:
    """Return the message at a path. Create missing messages, and replace values of another type."""
    found = cast("Node", message)
    for name in path:
        inner = found.get(name)
        if not isinstance(inner, dict):
            inner = found[name] = {}
        found = inner
    return found


def _set(node: Node, **values: Any) -> None:
    """Set the fields whose value differs: an equal one keeps its comments and its form."""
    for name, value in values.items():
        if node.get(name) != value:
            node[name] = value


def _failures(chain: Chain, expected: Expected) -> None:
    config = _node(chain.config)
    if is_on(config.get("failure_mode_allow")):
        config["failure_mode_allow"] = False
    if any(True for _ in rules.failures(chain, expected)):
        config["status_on_error"] = {"code": "ServiceUnavailable"}


def _enabled(chain: Chain, _: Expected) -> None:
    for name in ("shadow_mode", "filter_enabled"):
        _node(chain.config).pop(name, None)


def _service(chain: Chain, _: Expected) -> None:
    _node(chain.config).pop("with_request_body", None)
    if chain.cluster is not None and http2(chain.cluster) is None:
        options = _options(chain)
        options.pop("auto_config", None)
        _node(options, "explicit_http_config").pop("http_protocol_options", None)
        _node(options, "explicit_http_config", "http2_protocol_options")


def _paths(chain: Chain, _: Expected) -> None:
    manager = _node(chain.manager)
    _set(manager, normalize_path=True, merge_slashes=True)
    _set(manager, path_with_escaped_slashes_action="REJECT_REQUEST")


def _mutations(chain: Chain, expected: Expected) -> None:
    config = _node(chain.config)
    _set(config, validate_mutations=True)
    if is_on(config.get("clear_route_cache")):
        config["clear_route_cache"] = False
    allowed = [*expected.carriers, *([":path"] if expected.query else [])]
    names = "|".join(re.escape(name).replace("\\-", "-") for name in allowed)
    allowing = _node(config, "decoder_header_mutation_rules")
    allowing.pop("disallow_expression", None)
    _set(allowing, disallow_all=True, disallow_is_error=True)
    if not all(headers.may_change(allowing, name) for name in headers.changed(expected)):
        prefix = re.escape(expected.header_prefix).replace("\\-", "-")
        _set(allowing, allow_expression={"regex": f"^({prefix}[a-z0-9-]+|{names})$"})


def _carriers(chain: Chain, expected: Expected) -> None:
    _node(chain.config).pop("disallowed_headers", None)
    allow_headers(_node(chain.config), expected)


def allow_headers(config: Node, expected: Expected) -> None:
    """Add to allowed_headers, in place, each header that authz needs and no pattern matches.

    These are the carriers, the client-address header (unless `peer`), the headers that tell
    repeated requests, and SHOWN. Other patterns stay.
    """
    patterns = list_in(_node(config, "allowed_headers"), "patterns")
    for name in dict.fromkeys(
        [*expected.carriers, expected.client_address, *expected.repeats, *SHOWN]
    ):
        if name != "peer" and not any(fits(pattern, name) for pattern in items(patterns)):
            patterns.append({"exact": name, "ignore_case": True})


def _identity(chain: Chain, expected: Expected) -> None:
    manager = _node(chain.manager)
    action = "headers_with_underscores_action"
    if at(manager, "common_http_protocol_options", action) in (None, "ALLOW", 0):
        _node(manager, "common_http_protocol_options")[action] = "REJECT_REQUEST"
    if expected.client_address != "peer":
        _set(manager, use_remote_address=True)
    removed: list[Node] = [
        {"remove_on_match": {"key_matcher": {"prefix": expected.header_prefix}}},
        {"remove": "x-envoy-external-address"},
        {"remove": "x-envoy-auth-failure-mode-allowed"},
        {"remove": "x-envoy-auth-partial-body"},
    ]
    _remove_early(manager, removed)


def _overrides(chain: Chain, _: Expected) -> None:
    _remove_early(_node(chain.manager), [{"remove": name} for name in (*HOSTS, *PATHS)])


def _remove_early(manager: Node, removed: Sequence[Node]) -> None:
    """Add mutations to the early header mutations, without those that are there."""
    listed = list_in(manager, "early_header_mutation_extensions")
    for extension in items(listed):
        if at(extension, "typed_config", "@type") == EARLY:
            mutations = list_in(_node(extension, "typed_config"), "mutations")
            mutations.extend(one for one in removed if one not in mutations)
            return
    config = {"@type": EARLY, "mutations": removed}
    listed.append(
        {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": config}
    )


def _timeouts(chain: Chain, expected: Expected) -> None:
    _node(chain.config, "grpc_service")["timeout"] = f"{max(0.5, 2 * expected.deadline):g}s"


def _options(chain: Chain) -> Node:
    options = _node(chain.cluster or {}, "typed_extension_protocol_options", HTTP_OPTIONS)
    options.setdefault("@type", f"type.googleapis.com/{HTTP_OPTIONS}")
    return options


def _cluster(chain: Chain, _: Expected) -> None:
    if chain.cluster is None:
        return
    own = _node(chain.cluster)
    _set(own, health_checks=[HEALTH_CHECK])
    if http2(own) is not None:
        kind = "auto_config" if "auto_config" in _options(chain) else "explicit_http_config"
        spoken = _node(_options(chain), kind, "http2_protocol_options")
        spoken.setdefault("connection_keepalive", {"interval": "30s", "timeout": "5s"})
    room = {"max_pending_requests": 4096, "max_requests": 4096, "max_retries": 64}
    thresholds = list_in(_node(own, "circuit_breakers"), "thresholds")
    for one in items(thresholds):
        if one.get("priority", "DEFAULT") in ("DEFAULT", 0):
            _set(_node(one), **room)
            return
    thresholds.append({"priority": "DEFAULT", **room})


def _is_fine(chain: Chain, expected: Expected) -> bool:
    return all(level is Level.OK for level, *_ in retries(chain, expected))


def _retries(chain: Chain, expected: Expected) -> None:
    """Write the policy of deploy/systemd/envoy.yaml, or none for a single sidecar.

    A policy without a problem stays, also if there is a note about it.
    """
    if chain.cluster is None or _is_fine(chain, expected):
        return
    notice_dead_endpoints(_node(chain.cluster))
    if _is_fine(chain, expected):
        return
    _node(chain.config, "grpc_service").pop("retry_policy", None)
    options = _options(chain)
    options.pop("retry_policy", None)
    limits = _node(options, "common_http_protocol_options")
    limits["max_stream_duration"] = f"{4 * expected.deadline:g}s"
    if not any(True for _ in retries(chain, expected)):
        limits.pop("max_stream_duration")
        if not limits:
            del options["common_http_protocol_options"]
        return
    options["retry_policy"] = retry_policy()


def trailers_filter(expected: Expected) -> Node:
    """Return the HTTP filter for trailers and upgrades, which early mutations do not reach.

    It removes identity headers from request trailers. If a request has a `connection` header, it is
    overwritten with `upgrade`.
    """
    matcher = {"prefix": expected.header_prefix, "ignore_case": True}
    upgrade = {
        "header": {"key": "connection", "value": "upgrade"},
        "append_action": "OVERWRITE_IF_EXISTS",
    }
    mutations = {
        "request_mutations": [{"append": upgrade}],
        "request_trailers_mutations": [{"remove_on_match": {"key_matcher": matcher}}],
    }
    config = {"@type": MUTATION, "mutations": mutations}
    return {"name": "envoy.filters.http.header_mutation", "typed_config": config}


def _trailers(chain: Chain, expected: Expected) -> None:
    """Add the filter before the router, or at the end if there is no router."""
    listed = cast("Node", chain.manager)["http_filters"]
    ends = [
        at
        for at, step in enumerate(listed)
        if kind_of(within(step, "typed_config")).endswith(ROUTER)
    ]
    listed.insert(ends[0] if ends else len(listed), trailers_filter(expected))


def _llm(chain: Chain, expected: Expected) -> None:
    """Add the filter for LLMs if routes need it, and bring it up to date. Routes turn it on."""
    listed = cast("Node", chain.manager)["http_filters"]
    known = [cast("Node", step) for step in items(listed) if step.get("name") == NAME]
    if not known and not (expected.reads_model or expected.has_budgets):
        return
    step = known[0] if known else llm_filter()
    if at(step, "typed_config", "default_source_code", "inline_string") != SOURCE:
        step["typed_config"] = llm_filter()["typed_config"]
    if not any(one is step for one in chain.before):
        listed[:] = [one for one in listed if one is not step]
        listed.insert(len(chain.before), step)
    spaces = list_in(_node(chain.config), "metadata_context_namespaces")
    if MODEL_SPACE not in spaces:
        spaces.append(MODEL_SPACE)


_MENDING: Final[tuple[tuple[Rule, Callable[[Chain, Expected], None]], ...]] = (
    (rules.service, _service),
    (rules.failures, _failures),
    (rules.enabled, _enabled),
    (rules.paths, _paths),
    (headers.mutations, _mutations),
    (headers.carriers, _carriers),
    (headers.identity, _identity),
    (overrides, _overrides),
    (trailers, _trailers),
    (rules.timeouts, _timeouts),
    (cluster, _cluster),
    (retries, _retries),
    (llm, _llm),
)
