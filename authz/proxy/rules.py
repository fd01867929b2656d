"""What can be wrong with it. One function a question; each gives what it finds wrong.

What lets somebody in, or keeps everybody out, fails. What makes an outage, an attack or a mistake
worse is a warning. The facts about Envoy are those of 1.40.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from authz.core.finding import Finding, Level
from authz.proxy.chains import Chain, Expected, chains
from authz.proxy.document import Message, at, is_on, items, seconds, texts, within

HEALTH_SERVICE: Final = "envoy.service.auth.v3.Authorization"
HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
IDENTITY: Final = ("client-id", "key-id", "stale")  # of the names behind identity.header_prefix
FEW_REQUESTS: Final = 2048  # Envoy's own limit is 1024, over all its workers
DEFAULT_TIMEOUT: Final = 0.2  # of a gRPC service of ext_authz

Wrong = tuple[Level, str, str]  # how bad, what, what to do
Question = Callable[[Chain, Expected], Iterator[Wrong]]
FAIL, WARN = Level.FAIL, Level.WARN


def examine(documents: Sequence[Any], expected: Expected) -> Iterator[Finding]:
    """Every finding about every ext_authz filter in a configuration."""
    found = list(chains(documents))
    if not found:
        advice = "name the file that Envoy runs from, or what its admin says at /config_dump"
        yield Finding(FAIL, "envoy", "no HTTP connection manager has an ext_authz filter", advice)
    for chain in found:
        for check, (question, well) in QUESTIONS.items():
            wrong = list(question(chain, expected))
            for level, what, advice in wrong:
                yield Finding(level, check, f"{chain.name}: {what}", advice)
            if not wrong:
                yield Finding(Level.OK, check, f"{chain.name}: {well}")


def service(chain: Chain, _: Expected) -> Iterator[Wrong]:
    """Is it asked over gRPC, at a cluster that is there and speaks HTTP/2?"""
    if not within(chain.config, "grpc_service"):
        yield FAIL, "asks over HTTP", "authz answers gRPC: grpc_service with envoy_grpc"
    elif not chain.cluster_name:
        yield WARN, "google_grpc", "envoy_grpc has health checks, balancing and retries"
    elif chain.cluster is None:
        yield WARN, f"cluster {chain.cluster_name} is not in this file", "check its file as well"
    elif _http2(chain.cluster) is None:
        yield (
            FAIL,
            "the cluster does not speak HTTP/2",
            "explicit_http_config.http2_protocol_options",
        )


def failures(chain: Chain, _: Expected) -> Iterator[Wrong]:
    """What happens without an answer?"""
    config = chain.config
    if is_on(config.get("failure_mode_allow")):
        advice = "failure_mode_allow: false; an outage or an odd request would open every route"
        yield FAIL, "failure_mode_allow lets everybody in when authz does not answer", advice
    status = str(at(config, "status_on_error", "code"))
    if status not in {"ServiceUnavailable", "503"}:
        advice = "status_on_error: { code: ServiceUnavailable }, so that clients retry"
        yield WARN, "an outage looks like a forbidden request (403)", advice


def enabled(chain: Chain, _: Expected) -> Iterator[Wrong]:
    """Is every request asked for?"""
    config = chain.config
    if is_on(config.get("shadow_mode")):
        yield FAIL, "shadow_mode denies nobody", "remove it once the decisions are the wanted ones"
    share = within(config, "filter_enabled", "default_value")
    hundred = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
    whole = hundred.get(str(share.get("denominator", "HUNDRED")), 100)
    if "filter_enabled" in config and share.get("numerator", 0) != whole:
        yield FAIL, "filter_enabled leaves requests unchecked", "remove filter_enabled"
    for route in chain.routes:
        if route.exempt and "route" in route.route and "path" not in route.match:
            advice = "exempt exact paths only; `..;`, %2f and the like lead out of a prefix"
            yield FAIL, f"not checked at all: {route.name}", advice


def paths(chain: Chain, _: Expected) -> Iterator[Wrong]:
    """Do the sidecar, the router and the backend see one path?"""
    manager = chain.manager
    if not is_on(manager.get("normalize_path")):
        yield (
            FAIL,
            "paths are not normalised",
            "normalize_path: true; else /public/../admin differs",
        )
    if not is_on(manager.get("merge_slashes")):
        yield WARN, "//admin is not /admin", "merge_slashes: true"
    action = manager.get("path_with_escaped_slashes_action")
    if action not in ("REJECT_REQUEST", 2):
        advice = "path_with_escaped_slashes_action: REJECT_REQUEST"
        yield WARN, "%2F and %5C are passed on for somebody to read as slashes", advice


def mutations(chain: Chain, expected: Expected) -> Iterator[Wrong]:
    """May authz do what it must, and nothing else?"""
    config = chain.config
    if not is_on(config.get("validate_mutations")):
        advice = "validate_mutations: true; the last guard against a header that splits a response"
        yield FAIL, "what authz answers is not validated", advice
    if is_on(config.get("clear_route_cache")):
        yield WARN, "an added header may choose another route", "clear_route_cache: false"
    rules = config.get("decoder_header_mutation_rules")
    if not isinstance(rules, dict):
        advice = "decoder_header_mutation_rules as in envoy.yaml, so that it may do no more"
        yield WARN, "authz may change any header, :path too", advice
        return
    needed = [expected.header_prefix + name for name in IDENTITY] + list(expected.carriers)
    for name in needed:
        if not _may_change(rules, name):
            advice = f"let allow_expression match {name}"
            yield FAIL, f"authz may not change {name}", advice
    if not is_on(rules.get("disallow_is_error")):
        yield WARN, "a forbidden change is dropped in silence", "disallow_is_error: true"


def _may_change(rules: Message, name: str) -> bool:
    """Envoy's order: what is disallowed by expression, allowed by expression, and the rest."""
    if _matches(at(rules, "disallow_expression", "regex"), name):
        return False
    if _matches(at(rules, "allow_expression", "regex"), name):
        return True
    return not is_on(rules.get("disallow_all"))


def _matches(regex: Any, name: str) -> bool:
    if not isinstance(regex, str):
        return False
    try:
        return re.fullmatch(regex, name, re.ASCII) is not None
    except re.error:  # RE2 has a few things that `re` has not; then a person must look
        return False


def carriers(chain: Chain, expected: Expected) -> Iterator[Wrong]:
    """Does the sidecar get to see what it looks for?"""
    config, needed = chain.config, list(expected.carriers)
    if expected.client_address != "peer":
        needed.append(expected.client_address)
    allowed = list(items(at(config, "allowed_headers", "patterns")))
    refused = list(items(at(config, "disallowed_headers", "patterns")))
    for name in needed:
        is_seen = not allowed or any(_fits(pattern, name) for pattern in allowed)
        if not is_seen or any(_fits(pattern, name) for pattern in refused):
            yield FAIL, f"authz is not shown {name}", f"add {name} to allowed_headers"
    if allowed and not any(_fits(pattern, "origin") for pattern in allowed):
        yield WARN, "authz is not shown origin", "keys that are bound to origins are refused"


def identity(chain: Chain, expected: Expected) -> Iterator[Wrong]:
    """Can a client send the headers that only we may set?"""
    stripped = list(_stripped(chain))
    prefix = expected.header_prefix
    if not any(prefix.startswith(each) for each in stripped):
        said = f"only {', '.join(sorted(stripped))}" if stripped else "nothing"
        advice = f"early_header_mutation_extensions: remove_on_match the prefix {prefix}"
        yield FAIL, f"{prefix}* of a client is not removed ({said})", advice
    options = within(chain.manager, "common_http_protocol_options")
    action = options.get("headers_with_underscores_action", "ALLOW")
    if action in ("ALLOW", 0):
        advice = "headers_with_underscores_action: REJECT_REQUEST"
        yield WARN, f"{prefix.replace('-', '_')}* is the same header to many backends", advice
    for route in chain.routes:
        for name in texts(route.route.get("request_headers_to_remove")):
            if name.lower().startswith(prefix):
                advice = "remove it before the filter, not at the route"
                yield FAIL, f"{route.name} removes {name}, after authz set it", advice
    if expected.client_address != "peer" and not is_on(chain.manager.get("use_remote_address")):
        advice = "use_remote_address: true, and xff_num_trusted_hops"
        yield FAIL, f"a client can write {expected.client_address} itself", advice


def _stripped(chain: Chain) -> Iterator[str]:
    """The prefixes that are removed before the filter is reached."""
    early = list(items(chain.manager.get("early_header_mutation_extensions")))
    for step in (*early, *chain.filters[: chain.position]):
        config = within(step, "typed_config")
        if not str(config.get("@type", "")).endswith("HeaderMutation"):
            continue
        listed = config.get("mutations")
        if not isinstance(listed, list):  # of the HTTP filter
            listed = within(config, "mutations").get("request_mutations")
        for mutation in items(listed):
            prefix = at(mutation, "remove_on_match", "key_matcher", "prefix")
            if isinstance(prefix, str):
                yield prefix.lower()


def _fits(pattern: Message, name: str) -> bool:
    tests: dict[str, Callable[[str], bool]] = {
        "exact": lambda text: name == text.lower(),
        "prefix": lambda text: name.startswith(text.lower()),
        "suffix": lambda text: name.endswith(text.lower()),
        "contains": lambda text: text.lower() in name,
    }
    for kind, test in tests.items():
        if kind in pattern:
            return test(str(pattern[kind]))
    return _matches(at(pattern, "safe_regex", "regex"), name)


def timeouts(chain: Chain, expected: Expected) -> Iterator[Wrong]:
    """Does Envoy wait for as long as a lookup may take?"""
    asked = within(chain.config, "grpc_service")
    timeout = seconds(asked.get("timeout", f"{DEFAULT_TIMEOUT}s"))
    ours = f"check.deadline ({expected.deadline:g}s)"
    if timeout == 0 or timeout is None:
        yield WARN, "Envoy waits for ever", "grpc_service.timeout: 0.5s"
    elif timeout <= expected.deadline:
        advice = "grpc_service.timeout: at least twice as long, such as 0.5s"
        yield FAIL, f"Envoy gives up after {timeout:g}s, not later than {ours}", advice
    retried = seconds(at(asked, "retry_policy", "retry_back_off", "max_interval"))
    if retried is not None and retried <= expected.deadline:
        advice = "max_interval is the time-out of one try, too: make it longer than a lookup"
        yield FAIL, f"a try ends after {retried:g}s, not later than {ours}", advice


def cluster(chain: Chain, _: Expected) -> Iterator[Wrong]:
    """Is a sidecar that is gone, or hangs, noticed, and another one asked?"""
    if chain.cluster is None:
        return
    checks = list(items(chain.cluster.get("health_checks")))
    if not checks:
        yield WARN, "no health checks", f"grpc_health_check of {HEALTH_SERVICE}"
    for check in checks:
        interval = seconds(check.get("no_traffic_interval", "60s"))
        if interval is None or interval > 10:  # noqa: PLR2004
            advice = "no_traffic_interval: 2s"
            yield WARN, "a restarted sidecar is left out for a minute", advice
    options = _http2(chain.cluster)
    if options is not None and not within(options, "connection_keepalive"):
        advice = "connection_keepalive: { interval: 30s, timeout: 5s }"
        yield WARN, "no keepalive: a half-open connection goes unnoticed", advice
    limits = list(items(at(chain.cluster, "circuit_breakers", "thresholds")))
    if not limits or any(_count(limit.get("max_requests")) < FEW_REQUESTS for limit in limits):
        advice = "circuit_breakers: max_requests 4096; what is beyond it fails at once"
        yield WARN, "the circuit breaker's limit is easily met in a burst", advice


def _count(value: Any) -> int:
    """A UInt32Value; Envoy's own number of requests for what is none."""
    return value if isinstance(value, int) else 1024


def _http2(cluster: Message) -> Message | None:
    """How the cluster speaks HTTP/2; None when it does not."""
    options = at(cluster, "typed_extension_protocol_options", HTTP_OPTIONS, "explicit_http_config")
    found = at(options, "http2_protocol_options") or at(cluster, "http2_protocol_options")
    named = isinstance(options, dict) and "http2_protocol_options" in options
    if found is None and not (named or "http2_protocol_options" in cluster):
        return None
    return found if isinstance(found, dict) else {}


def secrecy(chain: Chain, expected: Expected) -> Iterator[Wrong]:
    """Does an access log write keys down?"""
    written = str(chain.manager.get("access_log", "")).lower()
    for name in expected.carriers:
        if f"req({name}" in written:
            yield FAIL, f"the access log holds {name}", f"take %REQ({name})% out of it"
    if expected.query and any(
        part in written for part in ("req(:path", "path(wq", "original-path")
    ):
        advice = f"log %PATH(NQ)%: the parameter {expected.query} holds keys"
        yield FAIL, "the access log holds the query", advice


# Each question's name in a report, and what is said when nothing is wrong.
QUESTIONS: Final[dict[str, tuple[Question, str]]] = {
    "service": (service, "asks over gRPC"),
    "failures": (failures, "no answer is a 503, not an allow"),
    "enabled": (enabled, "every route is checked, exact paths apart"),
    "paths": (paths, "one canonical path"),
    "mutations": (mutations, "authz may change what it must, and no more"),
    "carriers": (carriers, "authz sees every header that may hold a key"),
    "identity": (identity, "no client can send identity headers"),
    "timeouts": (timeouts, "Envoy waits for longer than a lookup takes"),
    "cluster": (cluster, "a sidecar that is gone is noticed"),
    "secrecy": (secrecy, "no key in the access log"),
}
