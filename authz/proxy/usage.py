"""The rule about the usage logger, whose lines `authz meter` counts.

Every problem is a warning: requests are answered all the same, but some are never counted. The
facts are those of Envoy 1.36 to 1.40, each seen with a receiver that was killed and came back.
"""

import re
from collections.abc import Iterator
from typing import Final

from authz.core.finding import Level
from authz.core.usage.line import GATE_FIELDS_3, LINE, METADATA, TOKENS
from authz.proxy.chains import Chain, Expected
from authz.proxy.cluster import http2
from authz.proxy.document import Message, at, is_on, items, kind_of, seconds, within
from authz.proxy.problem import WARN, Problem
from authz.proxy.retries import HTTP_OPTIONS

OPEN_TELEMETRY: Final = "open_telemetry.v3.OpenTelemetryAccessLogConfig"
FILES: Final = (".FileAccessLog", ".StdoutAccessLog", ".StderrAccessLog")
CLUSTER: Final = "authz_usage"
CHARGE_ID: Final = f"%DYNAMIC_METADATA({METADATA}:charge_id)%"
# The lines of earlier versions, which the meter counts. It settles no budget by them.
_ENVOY_PART: Final = LINE[LINE.index("%ACCESS_LOG_TYPE%") :].replace(f"{TOKENS} ", "")
LINE_3: Final = " ".join(
    ["3", *(f"%DYNAMIC_METADATA({METADATA}:{name})%" for name in GATE_FIELDS_3), _ENVOY_PART]
)
LINE_2: Final = " ".join(
    [
        "2",
        *(f"%DYNAMIC_METADATA({METADATA}:{name})%" for name in ("charge_id", "key_id", "reason")),
        _ENVOY_PART,
    ]
)

# A batch that is flushed for its size is just over it, and Envoy never retries one over 64 KiB.
MOST_BYTES: Final = 49_152
FEW_TRIES: Final = 100
SHORT: Final = 60.0  # seconds for all tries
FEW_BATCHES, ENDLESS_BATCHES = 1024, 65_536  # of 32 KiB: 32 MiB and 2 GiB
DEFAULT_RETRIES: Final = 3  # of a cluster's circuit breaker
NEEDED: Final = frozenset({"unavailable", "connect-failure", "reset"})
CLUSTER_RETRIES_SINCE: Final = (1, 37)

_OURS: Final = re.compile(r"authz[-_.](usage|meter)", re.ASCII)
_CEL: Final = f"has(metadata.filter_metadata['{METADATA}'].charge_id)"


def usage(chain: Chain, _: Expected) -> Iterator[Problem]:
    """Warn about a usage logger that loses records, or whose lines the meter cannot read.

    Without a usage logger and without a cluster for meters, usage is not counted: the problem has
    the level OK. With such a cluster it is a warning.
    """
    found = list(usage_loggers(chain.manager))
    if not found:
        advice = "`authz envoy patch` or `authz envoy snippet`; in Istio the last Telemetry wins"
        known = next((name for name in chain.clusters if _OURS.search(name)), "")
        if known:
            yield WARN, f"no usage logger, although there is a cluster {known}", advice
        else:
            yield Level.OK, "no usage logger: nothing is counted", "authz envoy snippet"
        return
    if sum(is_open_telemetry(log) for log in found) > 1:
        yield WARN, "several usage loggers count each request several times", "keep one"
    for log in found:
        yield from _selection(log)
        yield from _line(log)
        if is_open_telemetry(log):
            yield from _delivery(chain, within(log, "typed_config"))


def usage_loggers(manager: Message) -> Iterator[Message]:
    """Yield the access loggers that are meant for a meter, in order.

    An OpenTelemetry logger is meant for it if its text begins with the charge id, or if its name or
    its cluster is one of authz. A file logger: only by its text.
    """
    for log in items(manager.get("access_log")):
        config = within(log, "typed_config")
        named = at(config, "common_config", "log_name") == "authz"
        if is_open_telemetry(log):
            if named or _OURS.search(cluster_name(config)) or CHARGE_ID in text_of(log):
                yield log
        elif kind_of(config).endswith(FILES) and text_of(log).startswith(
            (f"4 {CHARGE_ID}", f"3 {CHARGE_ID}")
        ):
            yield log


def is_open_telemetry(log: Message) -> bool:
    """Return whether an access logger is that of OpenTelemetry."""
    return kind_of(within(log, "typed_config")).endswith(OPEN_TELEMETRY)


def text_of(log: Message) -> str:
    """Return the text of a logger; empty if its format is no text."""
    config = within(log, "typed_config")
    path = ("log_format", "text_format_source", "inline_string")
    text = at(config, "body", "string_value") if is_open_telemetry(log) else at(config, *path)
    return text if isinstance(text, str) else ""


def service_of(config: Message) -> Message:
    """Return the gRPC service of an OpenTelemetry logger; empty if it has none."""
    return within(config, "common_config", "grpc_service") or within(config, "grpc_service")


def cluster_name(config: Message) -> str:
    """Return the cluster of an OpenTelemetry logger; empty if it has none."""
    return str(at(service_of(config), "envoy_grpc", "cluster_name") or "")


def selects_charges(log: Message) -> bool:
    """Return whether the filter of a logger selects the requests that authz has answered."""
    chosen = within(log, "filter")
    matcher = within(chosen, "metadata_filter", "matcher")
    keys = [part.get("key") for part in items(matcher.get("path"))]
    by_metadata = (
        (matcher.get("filter"), keys) == (METADATA, ["charge_id"])
        and is_on(at(matcher, "value", "present_match"))
        and at(chosen, "metadata_filter", "match_if_key_not_found") is False
    )
    by_expression = at(chosen, "extension_filter", "typed_config", "expression") == _CEL
    return by_metadata or by_expression


def _selection(log: Message) -> Iterator[Problem]:
    if not selects_charges(log):
        chosen = within(log, "filter")
        found = "its filter is not the one on charge_id" if chosen else "it has no filter"
        advice = "metadata_filter on charge_id with match_if_key_not_found: false, as in envoy.yaml"
        yield WARN, f"the usage logger logs other requests than those of authz: {found}", advice


def _line(log: Message) -> Iterator[Problem]:
    end = "" if is_open_telemetry(log) else "\n"
    earlier = {LINE_3 + end} if end else {LINE_3, LINE_2}
    if text_of(log) in earlier:
        advice = "copy the text of the usage logger in envoy.yaml, after the meters are updated"
        yield Level.OK, "the usage line is an earlier one: it settles no budget", advice
    elif text_of(log) != LINE + end:
        advice = "copy the text of the usage logger in envoy.yaml, in one line"
        yield WARN, "the meter cannot read the lines of the usage logger", advice


def _delivery(chain: Chain, config: Message) -> Iterator[Problem]:
    if "http_service" in config:
        yield WARN, "the usage logger sends over HTTP, which is never retried", "grpc_service"
        return
    common, service = within(config, "common_config"), service_of(config)
    beside = sorted({"buffer_flush_interval", "buffer_size_bytes"} & config.keys())
    if beside:
        advice = "move them into common_config, together with grpc_service"
        yield WARN, f"Envoy ignores {' and '.join(beside)} of the usage logger", advice
    size = common.get("buffer_size_bytes", 0)
    if not isinstance(size, int) or size > MOST_BYTES:
        advice = "buffer_size_bytes: 32768"
        yield WARN, "a batch of usage may exceed 64 KiB, and is then never sent again", advice
    yield from _cluster(chain, cluster_name(config), service)


def _cluster(chain: Chain, name: str, service: Message) -> Iterator[Problem]:
    cluster = chain.clusters.get(name)
    if cluster is None:
        advice = "Envoy drops usage if it has no such cluster; in Istio a provider makes it known"
        yield WARN, f"the cluster of the usage logger is not in this file ({name})", advice
        yield from _retries(within(service, "retry_policy"), service)
        return
    if http2(cluster) is None:
        advice = "explicit_http_config.http2_protocol_options"
        yield WARN, "the cluster of the usage logger does not speak HTTP/2", advice
    own = within(cluster, "typed_extension_protocol_options", HTTP_OPTIONS, "retry_policy")
    asked = within(service, "retry_policy")
    if own and not asked and chain.version and chain.version < CLUSTER_RETRIES_SINCE:
        advice = "retry_policy in grpc_service of the logger"
        yield (
            WARN,
            "this Envoy ignores retry_policy of the cluster: a batch of usage is not sent again",
            advice,
        )
    else:
        yield from _retries(asked or own, service)
    yield from _breaker(cluster)
    panic = at(cluster, "common_lb_config", "healthy_panic_threshold")
    is_judged = "health_checks" in cluster or "outlier_detection" in cluster
    if is_judged and isinstance(panic, dict) and not panic.get("value"):
        advice = "take healthy_panic_threshold or the health checks out of its cluster"
        yield WARN, "usage is dropped at once while no meter counts as healthy", advice


def _retries(policy: Message, service: Message) -> Iterator[Problem]:
    if not policy:
        advice = "retry_policy in grpc_service of the logger, as in envoy.yaml; Envoy 1.36 ignores "
        advice += "one of the cluster"
        yield WARN, "a batch of usage is not sent again if the meter is away", advice
        return
    tries = policy.get("num_retries", 1)
    if not isinstance(tries, int) or tries < FEW_TRIES:
        yield WARN, f"a batch of usage is given up after {tries} retries", "num_retries: 1000"
    missing = sorted(NEEDED - set(str(policy.get("retry_on", "")).replace(" ", "").split(",")))
    if missing:
        advice = "retry_on as in envoy.yaml"
        yield WARN, f"a batch of usage is not sent again after {', '.join(missing)}", advice
    limit = seconds(service.get("timeout", "0s"))
    if limit and limit < SHORT:
        advice = "timeout: 600s; it is that of all tries together"
        yield WARN, f"a batch of usage is given up after {limit:g}s", advice


def _breaker(cluster: Message) -> Iterator[Problem]:
    limits = items(at(cluster, "circuit_breakers", "thresholds"))
    own = [limit for limit in limits if limit.get("priority", "DEFAULT") in ("DEFAULT", 0)]
    most = own[0].get("max_retries", DEFAULT_RETRIES) if own else DEFAULT_RETRIES
    if not isinstance(most, int) or most < FEW_BATCHES:
        advice = "circuit_breakers of its cluster: max_retries 1024, each of which holds 32 KiB"
        yield WARN, f"of the usage at most {most} batches wait for a meter that is away", advice
    elif most > ENDLESS_BATCHES:
        advice = "circuit_breakers of its cluster: max_retries 8192, each of which holds 32 KiB"
        yield WARN, "usage fills Envoy's memory while the meter is away", advice
