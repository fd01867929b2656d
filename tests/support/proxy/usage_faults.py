"""Faults of the usage logger, which loses records or writes lines that the meter cannot read."""

import copy
from collections.abc import Callable
from typing import Any

from tests.support.proxy.faults import HTTP2, Config, Fault


def logger(config: Config) -> dict[str, Any]:
    """Return the usage logger."""
    return config.manager["access_log"][1]


def own(config: Config) -> dict[str, Any]:
    """Return the configuration of the usage logger."""
    return logger(config)["typed_config"]


def common(config: Config) -> dict[str, Any]:
    """Return common_config of the usage logger."""
    return own(config)["common_config"]


def retry(config: Config) -> dict[str, Any]:
    """Return the retry policy of the usage logger."""
    return common(config)["grpc_service"]["retry_policy"]


def meters(config: Config) -> dict[str, Any]:
    """Return the cluster of the meters."""
    return config.whole["static_resources"]["clusters"][1]


def beside(config: Config) -> None:
    """The buffer of the logger stands beside common_config."""
    for name in ("buffer_flush_interval", "buffer_size_bytes"):
        own(config)[name] = common(config).pop(name)


def over_http(config: Config) -> None:
    """The logger sends over HTTP."""
    del own(config)["common_config"]
    uri = {"uri": "http://127.0.0.1:9195", "cluster": "authz_usage", "timeout": "5s"}
    own(config)["http_service"] = {"http_uri": uri}


def as_list(config: Config) -> None:
    """The body of a record is a list of values."""
    field = {"key": "kid", "value": {"string_value": "%START_TIME%"}}
    own(config)["body"] = {"kvlist_value": {"values": [field]}}


def by_status(config: Config) -> None:
    """The logger logs failures only."""
    at_least = {"op": "GE", "value": {"default_value": 400, "runtime_key": "x"}}
    logger(config)["filter"] = {"status_code_filter": {"comparison": at_least}}


def breaker(config: Config, most: int) -> None:
    """The cluster of the meters has room for so many retries."""
    meters(config)["circuit_breakers"]["thresholds"][0]["max_retries"] = most


def without_panic(config: Config) -> None:
    """The meters have health checks, and an unhealthy one is never asked."""
    meters(config)["health_checks"] = config.cluster["health_checks"]
    meters(config)["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}


def fault(name: str, spoil: Callable[[Config], Any], text: str) -> Fault:
    """Return a fault that is a warning of the rule about usage."""
    return Fault(name, spoil, "warn", "usage", text)


USAGE = [
    fault(
        "no usage logger",
        lambda c: c.manager["access_log"].pop(1),
        "there is a cluster authz_usage",
    ),
    fault(
        "two usage loggers",
        lambda c: c.manager["access_log"].append(copy.deepcopy(logger(c))),
        "several times",
    ),
    fault("usage of every request", lambda c: logger(c).pop("filter"), "has no filter"),
    fault("usage by status", by_status, "not the one on charge_id"),
    fault(
        "usage with requests of others",
        lambda c: logger(c)["filter"]["metadata_filter"].pop("match_if_key_not_found"),
        "not the one on charge_id",
    ),
    fault("usage as a list", as_list, "cannot read the lines"),
    fault(
        "usage of another version",
        lambda c: own(c).update(
            body={"string_value": own(c)["body"]["string_value"].replace("3", "4", 1)}
        ),
        "cannot read the lines",
    ),
    fault("usage over HTTP", over_http, "over HTTP"),
    fault("the buffer beside", beside, "ignores buffer_flush_interval and buffer_size_bytes"),
    fault("large batches", lambda c: common(c).update(buffer_size_bytes=65536), "exceed 64 KiB"),
    fault(
        "usage is sent once",
        lambda c: common(c)["grpc_service"].pop("retry_policy"),
        "not sent again if the meter is away",
    ),
    fault("few tries", lambda c: retry(c).update(num_retries=3), "after 3 retries"),
    fault("one retry", lambda c: retry(c).pop("num_retries"), "after 1 retries"),
    fault(
        "no retry after a reset",
        lambda c: retry(c).update(retry_on="unavailable, connect-failure"),
        "after reset",
    ),
    fault("short tries", lambda c: common(c)["grpc_service"].update(timeout="5s"), "after 5s"),
    fault(
        "no meters",
        lambda c: c.whole["static_resources"]["clusters"].pop(1),
        "not in this file (authz_usage)",
    ),
    fault(
        "meters over HTTP/1",
        lambda c: meters(c).pop("typed_extension_protocol_options"),
        "does not speak HTTP/2",
    ),
    fault("three batches", lambda c: meters(c).pop("circuit_breakers"), "at most 3 batches"),
    fault("few batches", lambda c: breaker(c, 64), "at most 64 batches"),
    fault("no healthy meter", without_panic, "dropped at once while no meter counts as healthy"),
    fault("endless batches", lambda c: breaker(c, 2**32 - 1), "fills Envoy's memory"),
]


def in_the_cluster(config: Config) -> None:
    """The cluster of the meters retries, not the logger."""
    policy = common(config)["grpc_service"].pop("retry_policy")
    options = meters(config)["typed_extension_protocol_options"][HTTP2]
    options["retry_policy"] = {**policy, "per_try_timeout": "5s"}
