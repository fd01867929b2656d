"""Faults of the retries of a Check."""

from collections.abc import Callable
from typing import Any

import yaml

from tests.support.proxy.faults import HTTP2, ORIGINAL, Config, Fault

TWO_SIDECARS = ORIGINAL.parent / "deploy" / "systemd" / "envoy.yaml"


def two_sidecars(config: Config) -> dict[str, Any]:
    """Give the configuration two sidecars with the shipped policy; return the cluster's options."""
    shipped = yaml.safe_load(TWO_SIDECARS.read_text())["static_resources"]["clusters"][0]
    config.cluster.update(shipped)
    return config.cluster["typed_extension_protocol_options"][HTTP2]


def policy(**changes: Any) -> Callable[[Config], None]:
    """Return a fault: two sidecars, and these changes of the shipped policy."""

    def spoil(config: Config) -> None:
        two_sidecars(config)["retry_policy"].update(changes)

    return spoil


def in_the_filter(**back_off: str) -> Callable[[Config], None]:
    """Return a fault: two sidecars, and the policy in grpc_service as Envoy 1.36 needs it."""

    def spoil(config: Config) -> None:
        own = two_sidecars(config).pop("retry_policy")
        config.filter["grpc_service"]["retry_policy"] = own | {"retry_back_off": back_off}

    return spoil


def one_sidecar(config: Config) -> None:
    """The policy for two sidecars with one of them."""
    two_sidecars(config)
    (group,) = config.cluster["load_assignment"]["endpoints"]
    del group["lb_endpoints"][1]


def few_retries(config: Config) -> None:
    """The circuit breaker of the shipped cluster without its room for retries."""
    two_sidecars(config)
    del config.cluster["circuit_breakers"]["thresholds"][0]["max_retries"]


def named(count: int) -> Callable[[Config], None]:
    """Return a change: as many host names in place of the sidecars, without a retry policy."""

    def change(config: Config) -> None:
        del two_sidecars(config)["retry_policy"]
        config.cluster["type"] = "STRICT_DNS"
        (group,) = config.cluster["load_assignment"]["endpoints"]
        hosts = [{"address": f"{at}.example", "port_value": 9001} for at in range(count)]
        group["lb_endpoints"] = [{"endpoint": {"address": {"socket_address": h}}} for h in hosts]

    return change


RETRIES = [
    Fault(
        "a short try",
        lambda c: two_sidecars(c).update(
            common_http_protocol_options={"max_stream_duration": "0.05s"}
        ),
        "fail",
        "retries",
        "a try ends after 0.05s",
    ),
    Fault(
        "impatient tries",
        in_the_filter(base_interval="0.005s", max_interval="0.02s"),
        "fail",
        "retries",
        "a try ends after 0.02s",
    ),
    Fault(
        "impatient by default",
        in_the_filter(base_interval="0.004s"),
        "fail",
        "retries",
        "a try ends after 0.04s",
    ),
    Fault(
        "a timeout without effect",
        policy(per_try_timeout="0.2s"),
        "warn",
        "retries",
        "per_try_timeout has no effect",
    ),
    Fault(
        "a try that hangs",
        policy(retry_on="connect-failure,refused-stream,reset-before-request,unavailable"),
        "warn",
        "retries",
        "not retried",
    ),
    Fault(
        "few attempts",
        policy(host_selection_retry_max_attempts=3),
        "warn",
        "retries",
        "the sidecar that failed",
    ),
    Fault("no retries", policy(num_retries=0), "warn", "retries", "repeats no Check"),
    Fault("no reason to retry", policy(retry_on=""), "warn", "retries", "repeats no Check"),
    Fault("room for few retries", few_retries, "warn", "cluster", "only 3 Checks"),
    Fault(
        "late news of health",
        lambda c: (two_sidecars(c), c.cluster.pop("common_lb_config")),
        "warn",
        "retries",
        "a dead sidecar alone",
    ),
    Fault(
        "asks the dead",
        lambda c: (two_sidecars(c), c.cluster.pop("outlier_detection")),
        "warn",
        "retries",
        "a dead sidecar until its health check",
    ),
    Fault("nobody else to ask", one_sidecar, "warn", "retries", "with a single sidecar"),
    Fault(
        "nobody else is asked",
        lambda c: two_sidecars(c).pop("retry_policy"),
        "warn",
        "retries",
        "although there are others",
    ),
    Fault("no other name is asked", named(2), "warn", "retries", "although there are others"),
]
