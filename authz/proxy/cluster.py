"""The rule about the cluster of sidecars."""

from collections.abc import Iterator
from typing import Any, Final

from authz.proxy.chains import Chain, Expected
from authz.proxy.document import Message, at, items, seconds, within
from authz.proxy.problem import WARN, Problem
from authz.proxy.retries import HTTP_OPTIONS, count_endpoints, has_policy

HEALTH_SERVICE: Final = "envoy.service.auth.v3.Authorization"
ASKED: Final = frozenset(
    {"", HEALTH_SERVICE, "readiness", "liveness"}
)  # the services that authz reports
FEW_REQUESTS: Final = 2048  # Envoy's default is 1024, over all its workers
FEW_RETRIES: Final = 16  # at a time
DEFAULT_RETRIES: Final = 3  # Envoy's: it cancels most retries of a burst
SELDOM: Final = 10.0  # seconds


def cluster(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Warn about health checks, keepalive and circuit breakers that do not suit a sidecar.

    If the cluster is not in the file, only that is reported. Yields WARN only, never FAIL.
    """
    if chain.cluster is None:
        if chain.cluster_name:
            yield (
                WARN,
                f"cluster {chain.cluster_name} is not in this file",
                "check its file as well",
            )
        elif within(chain.config, "grpc_service", "google_grpc"):
            yield WARN, "google_grpc", "envoy_grpc has health checks, balancing and retries"
        return
    options = http2(chain.cluster)
    checks = list(items(chain.cluster.get("health_checks")))
    if not checks:
        yield WARN, "no health checks", f"grpc_health_check of {HEALTH_SERVICE}"
    for check in checks:
        yield from _health(check, expected, speaks_grpc=options is not None)
    if options is not None and not within(options, "connection_keepalive"):
        advice = "connection_keepalive: { interval: 30s, timeout: 5s }"
        yield WARN, "no keepalive: a half-open connection goes unnoticed", advice
    limits = items(at(chain.cluster, "circuit_breakers", "thresholds"))
    own = [limit for limit in limits if limit.get("priority", "DEFAULT") in ("DEFAULT", 0)]
    if not own or any(_count(limit.get("max_requests")) < FEW_REQUESTS for limit in own):
        advice = "circuit_breakers: max_requests 4096; what is beyond it fails at once"
        yield WARN, "the circuit breaker's limit is easily met in a burst", advice
    retries = has_policy(chain) and count_endpoints(chain.cluster) != 1
    if retries and not any("retry_budget" in limit for limit in own):
        most = own[0].get("max_retries", DEFAULT_RETRIES) if own else DEFAULT_RETRIES
        if isinstance(most, int) and most < FEW_RETRIES:
            found = f"of a burst only {most} Checks are repeated at a time"
            yield WARN, found, "circuit_breakers: max_retries 64"


def _health(check: Message, expected: Expected, *, speaks_grpc: bool) -> Iterator[Problem]:
    interval = seconds(check.get("no_traffic_interval", "60s"))
    if interval is None or interval > SELDOM:
        yield WARN, "a restarted sidecar is left out for a minute", "no_traffic_interval: 2s"
    asked = within(check, "grpc_health_check").get("service_name", "")
    if not speaks_grpc:
        return
    if "grpc_health_check" not in check:
        advice = f"grpc_health_check of {HEALTH_SERVICE}"
        yield WARN, "a sidecar that is ending, or hangs, passes the health check", advice
    elif str(asked) not in ASKED:
        advice = f"service_name: {HEALTH_SERVICE}"
        yield WARN, f"authz knows no {asked}: every sidecar counts as unhealthy", advice
    every, times = seconds(check.get("interval")), check.get("unhealthy_threshold")
    if every is not None and isinstance(times, int) and every * times > expected.delay:
        noticed = f"an ending sidecar is noticed after {every * times:g}s"
        advice = "interval: 2s, unhealthy_threshold: 2"
        yield WARN, f"{noticed}, later than shutdown.delay ({expected.delay:g}s)", advice


def _count(value: Any) -> int:
    """Return the value if it is an int, else 1024: Envoy's default for max_requests."""
    return value if isinstance(value, int) else 1024


def http2(cluster: Message) -> Message | None:
    """Return the HTTP/2 options of a cluster, or None if it does not use HTTP/2.

    They are empty if only defaults apply. `auto_config` counts as HTTP/2, which ALPN can choose.
    """
    options = at(cluster, "typed_extension_protocol_options", HTTP_OPTIONS)
    for kind in ("explicit_http_config", "auto_config"):  # auto_config uses ALPN
        chosen = at(options, kind)
        if isinstance(chosen, dict) and ("http2_protocol_options" in chosen or kind[0] == "a"):
            return within(chosen, "http2_protocol_options")
    if "http2_protocol_options" in cluster:
        return within(cluster, "http2_protocol_options")
    return None
