"""Rules about headers: keys on the way to authz, identity headers on the way to the backend."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from authz.core.methods import METHOD_OVERRIDES
from authz.proxy.chains import Chain, Expected
from authz.proxy.document import Message, at, is_on, items, kind_of, texts, under, within
from authz.proxy.matching import fits, matches
from authz.proxy.problem import FAIL, WARN, Problem

# Identity headers, without identity.header_prefix.
IDENTITY: Final = (
    "key-id",
    "client-id",
    "project-id",
    "tenant-id",
    "scopes",
    "env",
    "plan",
    "stale",
)
ASSERTION: Final = "assertion"
# Set or removed with every allow, but no identity, or only with a setting.
BESIDE_IDENTITY: Final = ("token-id", "budget-remaining", "would-deny", ASSERTION)
_LOGGED: Final = re.compile(r"%req(?:uest_header)?\(([^)]*)\)")
_LOGGED_PATH: Final = re.compile(r"%path\((?:wq)?[:)]")
_WITH_QUERY: Final = frozenset({":path", "x-envoy-original-path"})


def mutations(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report header mutation rules that allow too much or too little.

    FAIL: validate_mutations is off, or authz may not change a header that it sets or removes. WARN:
    clear_route_cache is on, the rules are missing, or disallow_is_error is off.
    """
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
    for name in changed(expected):
        if not may_change(rules, name):
            advice = f"let allow_expression match {name}"
            yield FAIL, f"authz may not change {name}", advice
    if not is_on(rules.get("disallow_is_error")):
        yield WARN, "a forbidden change is dropped in silence", "disallow_is_error: true"


def identity_headers(expected: Expected) -> list[str]:
    """Return the headers that a backend takes for the identity of the caller."""
    names = (*IDENTITY, ASSERTION) if expected.has_assertions else IDENTITY
    return [expected.header_prefix + name for name in names]


def changed(expected: Expected) -> list[str]:
    """Return the headers that authz sets or removes; `:path` to take a key out of a query."""
    path = [":path"] if expected.query else []
    identity = [expected.header_prefix + name for name in (*IDENTITY, *BESIDE_IDENTITY)]
    return [*identity, *expected.carriers, *path]


def may_change(rules: Message, name: str) -> bool:
    """Return whether authz may change a header.

    Envoy applies disallow_expression first, then allow_expression, then disallow_all and, for names
    with a colon, disallow_system. Without any rule the change is allowed.
    """
    if matches(at(rules, "disallow_expression", "regex"), name):
        return False
    if matches(at(rules, "allow_expression", "regex"), name):
        return True
    is_refused = is_on(rules.get("disallow_system")) and name.startswith(":")
    return not (is_refused or is_on(rules.get("disallow_all")))


def carriers(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report headers that the sidecar needs and does not receive.

    FAIL: Envoy does not send a key header, the client-address header, or a header that tells
    repeated requests, or a filter removes it first. WARN: allowed_headers exists and lacks origin,
    content-type or, if the routes of the settings name methods, a header by which a client names
    another method.
    """
    config, needed = chain.config, list(expected.carriers)
    if expected.client_address != "peer":
        needed.append(expected.client_address)
    needed += expected.repeats
    allowed = list(items(at(config, "allowed_headers", "patterns")))
    refused = list(items(at(config, "disallowed_headers", "patterns")))
    for name in needed:
        is_seen = not allowed or any(fits(pattern, name) for pattern in allowed)
        if not is_seen or any(fits(pattern, name) for pattern in refused):
            advice = f"add {name} to allowed_headers, in lower case or with ignore_case"
            yield FAIL, f"authz is not shown {name}", advice
        elif any(removes(step, name) for step in _lost(chain, name)):
            yield FAIL, f"{name} is removed before authz is asked", "leave that to authz"
    if allowed and not any(fits(pattern, "origin") for pattern in allowed):
        yield WARN, "authz is not shown origin", "keys that are bound to origins are refused"
    if allowed and not any(fits(pattern, "content-type") for pattern in allowed):
        yield WARN, "authz is not shown content-type", "gRPC callers get messages in JSON"
    if allowed and expected.has_methods:
        for name in METHOD_OVERRIDES:
            is_seen = any(fits(pattern, name) for pattern in allowed)
            if not is_seen and not any(removes(step, name) for step in _lost(chain, name)):
                advice = "add it to allowed_headers, or remove it before the backend"
                yield WARN, f"authz is not shown {name}, which may name another method", advice


def identity(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report identities that a client or a route can change: identity headers and the address.

    FAIL: an identity header of a client is not removed before the filter; a route removes one after
    authz has set it; a client can choose the address. WARN: names with underscores are allowed; a
    route sets an identity header; the address is that of a proxy in front.
    """
    prefix, steps = expected.header_prefix, list(_mutated(chain))
    internal = {
        name.lower() for name in texts(chain.levels[0].message.get("internal_only_headers"))
    }
    names = identity_headers(expected)
    kept = [
        name
        for name in names
        if name not in internal and not any(removes(step, name) for step in steps)
    ]
    if kept == names:
        prefixes = [at(step, "remove_on_match", "key_matcher", "prefix") for step in steps]
        removed = f"only {', '.join(sorted(texts(prefixes)))}" if any(prefixes) else "nothing"
        advice = f"early_header_mutation_extensions: remove_on_match the prefix {prefix}"
        yield FAIL, f"{prefix}* of a client is not removed ({removed})", advice
    elif kept:
        yield FAIL, f"{', '.join(kept)} of a client is not removed", f"remove the prefix {prefix}"
    options = within(chain.manager, "common_http_protocol_options")
    action = options.get("headers_with_underscores_action", "ALLOW")
    if action in ("ALLOW", 0):
        advice = "headers_with_underscores_action: REJECT_REQUEST"
        yield WARN, f"{prefix.replace('-', '_')}* is the same header to many backends", advice
    yield from _late(chain, expected)
    yield from _address(chain, expected)


def _address(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report an address that is not the client's (WARN) or that a client can choose (FAIL)."""
    manager, source = chain.manager, expected.client_address
    hops = manager.get("xff_num_trusted_hops", 0)
    if source == "peer":
        if hops or "original_ip_detection_extensions" in manager:
            advice = "extract.client_address: x-envoy-external-address"
            yield WARN, "a key bound to addresses sees the proxy in front, not the client", advice
    elif not is_on(manager.get("use_remote_address")):
        advice = "use_remote_address: true, and xff_num_trusted_hops"
        yield FAIL, f"a client can write {source} itself", advice
    elif manager.get("internal_address_config") and not any(
        removes(step, source) for step in early_mutations(chain)
    ):
        advice = f"early_header_mutation_extensions: remove {source}; Envoy then sets its own"
        yield FAIL, f"a client in internal_address_config can write {source} itself", advice


def _late(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report routes that remove (FAIL) or set (WARN) identity headers after authz has set them."""
    prefix = expected.header_prefix
    names = set(identity_headers(expected))
    for level in chain.levels:
        for name in texts(level.message.get("request_headers_to_remove")):
            if name.lower().startswith(prefix):
                advice = "remove it before the filter, not at the route"
                yield FAIL, f"{level.name} removes {name}, after authz set it", advice
        for added in items(level.message.get("request_headers_to_add")):
            name = str(at(added, "header", "key"))
            if name.lower() in names:
                yield WARN, f"{level.name} sets {name}, after authz did", "leave that to authz"


def _lost(chain: Chain, name: str) -> Iterator[Message]:
    """Yield the header mutations after which the filter cannot see a header.

    Envoy sets x-envoy-external-address after the early mutations: for it, only filters count.
    """
    set_by_envoy = name == "x-envoy-external-address"  # after the early mutations
    return request_mutations(chain.before) if set_by_envoy else _mutated(chain)


def _mutated(chain: Chain) -> Iterator[Message]:
    """Yield the header mutations that run before the filter: early ones, then those of filters."""
    return request_mutations([*_early(chain), *chain.before])


def early_mutations(chain: Chain) -> Iterator[Message]:
    """Yield the header mutations that run before routes and filters."""
    return request_mutations(_early(chain))


def _early(chain: Chain) -> list[Message]:
    return list(items(chain.manager.get("early_header_mutation_extensions")))


def request_mutations(steps: Iterable[Message]) -> Iterator[Message]:
    """Yield the mutations of requests by each header_mutation filter or extension that is on."""
    for step in steps:
        config = within(step, "typed_config")
        if is_on(step.get("disabled")) or not kind_of(config).endswith("HeaderMutation"):
            continue
        listed = config.get("mutations")
        if not isinstance(listed, list):  # of the HTTP filter
            listed = within(config, "mutations").get("request_mutations")
        yield from items(listed)


def removes(mutation: Message, name: str) -> bool:
    """Return whether a mutation removes the header with this lower-case name."""
    matcher = within(mutation, "remove_on_match", "key_matcher")
    return fits(matcher, name) or str(mutation.get("remove", "")).lower() == name


def secrecy(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report access logs and traces that record keys; each problem is a FAIL.

    Looked for are key headers in logs and trace tags. If a query parameter may hold a key, a log of
    the path with its query is a problem too.
    """
    logs, tracing = chain.manager.get("access_log"), within(chain.manager, "tracing")
    written = str(logs).lower()
    names = {name for operator in _LOGGED.findall(written) for name in operator.split("?")}
    for listed in under(logs, "additional_request_headers_to_log"):
        names |= {name.lower() for name in texts(listed)}
    tags = {
        str(at(tag, "request_header", "name")).lower() for tag in items(tracing.get("custom_tags"))
    }
    for name in expected.carriers:
        if name in names:
            yield FAIL, f"the access log holds {name}", f"take {name} out of it"
        if name in tags:
            yield FAIL, f"a tag of every trace holds {name}", f"take {name} out of custom_tags"
    if expected.query and (names & _WITH_QUERY or _LOGGED_PATH.search(written) or _is_plain(logs)):
        advice = f"log %PATH(NQ)%: the parameter {expected.query} holds keys"
        yield FAIL, "the access log holds the query", advice


def _is_plain(logs: Any) -> bool:
    """Return whether any log uses Envoy's default format, which has the path with its query.

    False without logs. A log without typed_config is ignored. An OpenTelemetry log has no default.
    """
    formats = ("log_format", "format", "json_format", "typed_json_format")
    configs = [within(log, "typed_config") for log in items(logs)]
    configs = [found for found in configs if "open_telemetry" not in kind_of(found)]
    return any(config and not any(name in config for name in formats) for config in configs)
