"""The rule about retries of a Check, in the cluster or in grpc_service."""

from collections.abc import Iterator
from typing import Any, Final

from authz.core.finding import Level
from authz.core.limits.charge_once import X_REQUEST_ID
from authz.proxy.chains import Chain, Expected
from authz.proxy.document import Message, at, items, seconds, within
from authz.proxy.problem import FAIL, WARN, Problem

HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# LEAST_REQUEST prefers a dead host, which has no requests. Of 1,600 requests 83 failed with 3
# attempts, 8 with 10 and none with 32.
ATTEMPTS: Final = 32
# Envoy leaves a sidecar out after three refused connections, not only when its health check fails.
OUTLIERS: Final = {
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 3,
    "enforcing_consecutive_local_origin_failure": 100,
    "interval": "1s",
    "base_ejection_time": "2s",
    "max_ejection_time": "10s",
    "max_ejection_percent": 50,
}
_RESETS: Final = frozenset({"reset", "5xx", "gateway-error"})


def retries(chain: Chain, expected: Expected) -> Iterator[Problem]:
    """Report retry policies that end tries too early, or that never reach another sidecar.

    FAIL: a try ends within check.deadline. WARN: every other problem, also if a cluster of more
    than one endpoint has no retry policy, no outlier detection, or merges changes of health. By
    default Envoy tells its workers a second change within 1 s only at the end of that second: of
    2,000 requests/s up to 1,900 failed. The sidecars behind a single name cannot be counted. OK, as
    a note: Envoy retries, there are limits, and no route charges a retry of Envoy once.
    """
    cluster = chain.cluster or {}
    options = within(cluster, "typed_extension_protocol_options", HTTP_OPTIONS)
    limit = seconds(at(options, "common_http_protocol_options", "max_stream_duration"))
    ours = f"check.deadline ({expected.deadline:g}s)"
    if limit is not None and limit <= expected.deadline:
        advice = "max_stream_duration: at least twice as long, such as 0.2s"
        yield FAIL, f"a try ends after {limit:g}s, not later than {ours}", advice
    own = within(options, "retry_policy")
    if "per_try_timeout" in own:
        advice = "common_http_protocol_options: { max_stream_duration: 0.2s }"
        yield WARN, "per_try_timeout has no effect in a cluster", advice
    asked = within(chain.config, "grpc_service", "retry_policy")
    retried = _try(asked.get("retry_back_off"))
    if retried is not None and retried <= expected.deadline:
        advice = "max_interval is the timeout of one try, too: make it longer than a lookup"
        yield FAIL, f"a try ends after {retried:g}s, not later than {ours}", advice
    endpoints = count_endpoints(cluster)
    for policy, is_limited in ((own, limit is not None), (asked, retried is not None)):
        if policy:
            yield from _policy(policy, endpoints, is_limited=is_limited)
    if not own and not asked and endpoints is not None and endpoints > 1:
        advice = "retry_policy as in deploy/systemd/envoy.yaml"
        yield WARN, "a Check fails with the sidecar that has it, although there are others", advice
    charges_twice = expected.has_limits and X_REQUEST_ID not in expected.repeats
    if (own or asked) and endpoints != 1 and charges_twice:
        setting = f"charge_once: {{headers: [{X_REQUEST_ID}]}}"
        advice = f"to charge each request once: {setting} in the routes"
        yield Level.OK, "a Check that Envoy repeats may take a unit of a limit twice", advice
    window = seconds(at(cluster, "common_lb_config", "update_merge_window"))
    if endpoints is not None and endpoints > 1 and window != 0:
        advice = "common_lb_config: { update_merge_window: 0s }"
        yield WARN, "Envoy can ask a dead sidecar alone for a second, although others live", advice
    if endpoints is not None and endpoints > 1 and not cluster.get("outlier_detection"):
        advice = "outlier_detection as in deploy/systemd/envoy.yaml"
        yield WARN, "Envoy asks a dead sidecar until its health check fails", advice


def retry_policy() -> dict[str, Any]:
    """Return a retry policy for clusters: that of deploy/systemd/envoy.yaml."""
    kind = (
        "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    )
    host = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": kind}}
    return {
        "num_retries": 1,
        "retry_on": "connect-failure,refused-stream,reset,unavailable",
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        "retry_host_predicate": [host],
        "host_selection_retry_max_attempts": ATTEMPTS,
    }


def notice_dead_endpoints(cluster: dict[str, Any]) -> None:
    """Change a cluster so that Envoy notices at once that one of several endpoints is dead."""
    if count_endpoints(cluster) != 1:
        if seconds(at(cluster, "common_lb_config", "update_merge_window")) != 0:
            cluster["common_lb_config"] = {
                **within(cluster, "common_lb_config"),
                "update_merge_window": "0s",
            }
        if not cluster.get("outlier_detection"):
            cluster["outlier_detection"] = dict(OUTLIERS)


def has_policy(chain: Chain) -> bool:
    """Return whether the cluster or grpc_service has a retry policy."""
    options = within(chain.cluster or {}, "typed_extension_protocol_options", HTTP_OPTIONS)
    asked = within(chain.config, "grpc_service", "retry_policy")
    return bool(asked or within(options, "retry_policy"))


def _policy(policy: Message, endpoints: int | None, *, is_limited: bool) -> Iterator[Problem]:
    if endpoints == 1:
        advice = "remove the retry policy: with one sidecar a retry only asks it twice"
        yield WARN, "retries with a single sidecar make a slow moment an outage", advice
        return
    conditions = set(str(policy.get("retry_on", "")).replace(" ", "").split(",")) - {""}
    if not conditions or policy.get("num_retries") == 0:
        advice = "retry_on and num_retries as in deploy/systemd/envoy.yaml"
        yield WARN, "the retry policy repeats no Check", advice
        return
    if is_limited and not conditions & _RESETS:
        advice = "add reset to retry_on"
        yield WARN, "a try that hangs is ended and not retried", advice
    attempts = policy.get("host_selection_retry_max_attempts", 1)
    if not isinstance(attempts, int) or attempts < ATTEMPTS:
        advice = f"host_selection_retry_max_attempts: {ATTEMPTS}, with previous_hosts"
        yield WARN, "a retry often selects the sidecar that failed", advice


def _try(back_off: Any) -> float | None:
    """Return the timeout of one try in seconds: max_interval, by default 10 times base_interval.

    None if neither is set.
    """
    longest = seconds(at(back_off, "max_interval"))
    base = seconds(at(back_off, "base_interval"))
    return 10 * base if longest is None and base is not None else longest


def count_endpoints(cluster: Message) -> int | None:
    """Return the number of endpoints: at least so many, if they are names.

    None if nobody can tell: a single name may be that of several sidecars, and others are
    discovered.
    """
    if "load_assignment" not in cluster:
        return None
    groups = items(at(cluster, "load_assignment", "endpoints"))
    count = sum(1 for group in groups for _ in items(group.get("lb_endpoints")))
    is_static = "cluster_type" not in cluster and cluster.get("type", "STATIC") in ("STATIC", 0)
    return count if is_static or count > 1 else None
