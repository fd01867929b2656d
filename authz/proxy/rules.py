"""Rules for an ext_authz filter: each function yields the problems that it finds.

FAIL: somebody gets in without a check, or nobody gets in. WARN: an outage, an attack or a mistake
does more harm than necessary. The facts about Envoy are those of version 1.40.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from authz.core.errors import BadInput
from authz.core.finding import Finding, Level
from authz.core.route_facts import facts
from authz.proxy.chains import Chain, Expected, chains
from authz.proxy.cluster import cluster, http2
from authz.proxy.document import at, is_on, seconds, within
from authz.proxy.headers import carriers, identity, mutations, secrecy
from authz.proxy.listeners import denying, unprotected
from authz.proxy.llm import llm
from authz.proxy.metadata import left_out
from authz.proxy.overrides import overrides
from authz.proxy.problem import FAIL, WARN, Problem
from authz.proxy.retries import retries
from authz.proxy.trailers import trailers
from authz.proxy.usage import usage

DEFAULT_TIMEOUT: Final = 0.2  # seconds; Envoy's default for grpc_service of ext_authz
RESTRICTING: Final = frozenset({"scopes", "env", "cost"})
HIDDEN: Final = "[redacted]"  # replaces sensitive values in /config_dump
VERY_LONG: Final = 10.0  # seconds; Istio's default is ten minutes

Rule = Callable[[Chain, Expected], Iterator[Problem]]


def examine(documents: Sequence[Any], expected: Expected) -> Iterator[Finding]:
    """Yield the findings about every ext_authz filter of a configuration, each finding once.

    A rule without a problem yields OK. Without any ext_authz filter, the only finding is a FAIL.
    Managers without the filter that lead to backends are a WARN.
    """
    yield from dict.fromkeys(_examine(documents, expected))


def _examine(documents: Sequence[Any], expected: Expected) -> Iterator[Finding]:
    filters = list(chains(documents))
    if not filters:
        found = "no HTTP connection manager has an ext_authz filter"
        advice = "name the file that Envoy runs from, or a dump of its /config_dump"
        if policy := denying(documents):
            found += f", and the RBAC policy {policy} denies everything"
            advice = "Istio cannot resolve the provider of a CUSTOM AuthorizationPolicy: look for "
            advice += "its name in extensionProviders, and for its service in one namespace only"
        yield Finding(FAIL, "envoy", found, advice)
        return
    for chain in filters:
        for check, (rule, summary) in RULES.items():
            problems = list(rule(chain, expected))
            for level, found, advice in problems:
                yield Finding(level, check, f"{chain.name}: {found}", advice)
            if not problems:
                yield Finding(Level.OK, check, f"{chain.name}: {summary}")
    for name in unprotected(documents):
        found, advice = "leads to backends without an ext_authz filter", "is no key needed there?"
        yield Finding(WARN, "enabled", f"{name}: {found}", advice)


def service(chain: Chain, _: Expected) -> Iterator[Problem]:
    """Report a service that is not authz over gRPC and HTTP/2 (FAIL), or that gets bodies (WARN).

    A route level that asks another service is a WARN.
    """
    config = chain.config
    if not within(config, "grpc_service"):
        yield FAIL, "asks over HTTP", "authz answers gRPC: grpc_service with envoy_grpc"
    elif chain.cluster is not None and http2(chain.cluster) is None:
        advice = "explicit_http_config.http2_protocol_options"
        yield FAIL, "the cluster does not speak HTTP/2", advice
    if "with_request_body" in config:
        advice = "remove with_request_body: authz looks at no body"
        yield WARN, "bodies are held back, and sent along; large ones are refused", advice
    for level in chain.levels:
        settings = within(level.override, "check_settings")
        if "grpc_service" in settings or "http_service" in settings:
            found = f"{level.name} asks another service"
            yield WARN, found, "does that one know keys? It is not looked at here"


def failures(chain: Chain, _: Expected) -> Iterator[Problem]:
    """Report a wrong reaction to a Check that fails.

    FAIL: failure_mode_allow is on. WARN: status_on_error is not 503.
    """
    config = chain.config
    if is_on(config.get("failure_mode_allow")):
        advice = "failure_mode_allow: false; an outage or an odd request would open every route"
        yield FAIL, "failure_mode_allow lets everybody in when authz does not answer", advice
    status = str(at(config, "status_on_error", "code"))
    if status not in {"ServiceUnavailable", "503"}:
        advice = "status_on_error: { code: ServiceUnavailable }, so that clients retry"
        yield WARN, "an outage looks like a forbidden request (403)", advice


def enabled(chain: Chain, _: Expected) -> Iterator[Problem]:
    """Report requests that are not checked.

    FAIL: shadow_mode, filter_enabled below 100 %, or a route to a backend that is exempt and not
    matched by exact path. WARN: another filter contains this one, or routes are not in this file.
    Also yields the problems of `left_out`.
    """
    config = chain.config
    if is_on(config.get("shadow_mode")):
        yield FAIL, "shadow_mode denies nobody", "remove it once the decisions are the wanted ones"
    share = within(config, "filter_enabled", "default_value")
    hundred = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
    whole = hundred.get(str(share.get("denominator", "HUNDRED")), 100)
    if "filter_enabled" in config and share.get("numerator", 0) != whole:
        yield FAIL, "filter_enabled leaves requests unchecked", "remove filter_enabled"
    yield from left_out(chain)
    if chain.is_conditional:
        found = "it stands within another filter, which may leave it out"
        yield WARN, found, "make it a filter of its own"
    for route in chain.routes:
        if route.exempt and "route" in route.route and "path" not in route.match:
            advice = "exempt exact paths only; `..;`, %2f and the like lead out of a prefix"
            yield FAIL, f"not checked at all: {route.name}", advice
    if chain.unseen:
        advice = "look at /config_dump: a route may be exempt"
        yield WARN, f"its routes are not in this file ({chain.unseen})", advice


def extensions(chain: Chain, _: Expected) -> Iterator[Problem]:
    """Report context_extensions that authz does not understand (FAIL).

    WARN: they restrict a route that is matched by exact path, which other spellings avoid.
    """
    for level in chain.levels:
        given = within(level.override, "check_settings", "context_extensions")
        try:
            facts({name: "" if value == HIDDEN else str(value) for name, value in given.items()})
        except BadInput as cause:
            advice = "every request there is refused as bad_request"
            yield FAIL, f"context_extensions of {level.name}: {cause}", advice
        if "path" in within(level.message, "match") and given.keys() & RESTRICTING:
            advice = "match by prefix: a backend may read /a/ and /a;x as /a"
            yield WARN, f"other spellings avoid the restriction of {level.name}", advice


def paths(chain: Chain, _: Expected) -> Iterator[Problem]:
    """Report settings by which sidecar, router and backend read different paths.

    FAIL: normalize_path is off. WARN: merge_slashes is off, or escaped slashes are not rejected.
    """
    manager = chain.manager
    if not is_on(manager.get("normalize_path")):
        advice = "normalize_path: true; else /public/../admin differs"
        yield FAIL, "paths are not normalised", advice
    if not is_on(manager.get("merge_slashes")):
        yield WARN, "//admin is not /admin", "merge_slashes: true"
    action = manager.get("path_with_escaped_slashes_action")
    if action not in ("REJECT_REQUEST", 2):
        advice = "path_with_escaped_slashes_action: REJECT_REQUEST"
        yield WARN, "%2F and %5C are passed on for somebody to read as slashes", advice


def timeouts(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report a grpc_service.timeout that does not fit check.deadline. Envoy's default is 0.2 s.

    FAIL: not longer than check.deadline. WARN: 0 or unreadable, as Envoy then waits without limit,
    or longer than VERY_LONG (10 s).
    """
    asked = within(chain.config, "grpc_service")
    timeout = seconds(asked.get("timeout", f"{DEFAULT_TIMEOUT}s"))
    ours = f"check.deadline ({expected.deadline:g}s)"
    if timeout == 0 or timeout is None:
        yield WARN, "Envoy waits for ever", "grpc_service.timeout: 0.5s"
    elif timeout <= expected.deadline:
        advice = "grpc_service.timeout: at least twice as long, such as 0.5s"
        yield FAIL, f"Envoy gives up after {timeout:g}s, not later than {ours}", advice
    elif timeout > VERY_LONG:
        advice = "grpc_service.timeout: 0.5s"
        yield WARN, f"a request waits up to {timeout:g}s for a sidecar that hangs", advice


# The name of each rule in a report, and the text of the report if there is no problem.
RULES: Final[dict[str, tuple[Rule, str]]] = {
    "service": (service, "asks over gRPC"),
    "failures": (failures, "no answer is a 503, not an allow"),
    "enabled": (enabled, "every route is checked, exact paths apart"),
    "extensions": (extensions, "authz understands what is said of routes"),
    "paths": (paths, "one canonical path"),
    "mutations": (mutations, "authz may change what it must, and no more"),
    "carriers": (carriers, "authz sees every header that may hold a key"),
    "identity": (identity, "no client can send identity headers"),
    "overrides": (overrides, "no client names another host or path"),
    "trailers": (trailers, "no identity in trailers, one token in the Connection of an upgrade"),
    "timeouts": (timeouts, "Envoy waits for longer than a lookup takes"),
    "cluster": (cluster, "a sidecar that is gone is noticed"),
    "retries": (retries, "a retry asks another sidecar, or nobody retries"),
    "secrecy": (secrecy, "no key in the access log"),
    "usage": (usage, "the meter gets a record of every request"),
    "llm": (llm, "authz knows the models and tokens of LLMs"),
}
