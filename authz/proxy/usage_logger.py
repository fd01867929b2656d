"""The usage logger and the cluster of meters, as envoy.yaml has them.

A test keeps the values equal to envoy.yaml, which says why each is so.
"""

import copy
from collections.abc import Sequence
from typing import Any, Final, cast

from authz.core.usage.line import LINE, METADATA
from authz.proxy.chains import Chain
from authz.proxy.document import Message, items, list_in, under
from authz.proxy.retries import HTTP_OPTIONS
from authz.proxy.usage import (
    CLUSTER,
    cluster_name,
    is_open_telemetry,
    selects_charges,
    usage_loggers,
)

TYPE: Final = (
    "type.googleapis.com/"
    "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
)
ADDRESS, PORT = "127.0.0.1", 9195

RETRY_POLICY: Final = {
    "num_retries": 1000,
    "retry_on": "unavailable,connect-failure,refused-stream,reset,cancelled,deadline-exceeded,"
    "internal,resource-exhausted",
    "retry_back_off": {"base_interval": "0.1s", "max_interval": "5s"},
}
SELECTION: Final = {
    "metadata_filter": {
        "matcher": {
            "filter": METADATA,
            "path": [{"key": "charge_id"}],
            "value": {"present_match": True},
        },
        "match_if_key_not_found": False,
    }
}
ROOM: Final = {"max_pending_requests": 8192, "max_requests": 8192, "max_retries": 1024}
Node = dict[str, Any]


def usage_logger(cluster: str = CLUSTER) -> Node:
    """Return the access logger, as in envoy.yaml, that sends its batches to this cluster."""
    service = {
        "envoy_grpc": {"cluster_name": cluster},
        "timeout": "600s",
        "retry_policy": RETRY_POLICY,
    }
    common = {
        "log_name": "authz",
        "transport_api_version": "V3",
        "buffer_flush_interval": "1s",
        "buffer_size_bytes": 32768,
        "grpc_service": service,
    }
    config = {
        "@type": TYPE,
        "common_config": common,
        "disable_builtin_labels": True,
        "body": {"string_value": LINE},
    }
    logger = {
        "name": "envoy.access_loggers.open_telemetry",
        "filter": SELECTION,
        "typed_config": config,
    }
    return copy.deepcopy(logger)


def usage_cluster(name: str = CLUSTER) -> Node:
    """Return the cluster, as in envoy.yaml, with one meter on this machine."""
    options = {
        "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
        "explicit_http_config": {
            "http2_protocol_options": {
                "connection_keepalive": {"interval": "30s", "timeout": "5s"},
            }
        },
    }
    where = {"socket_address": {"address": ADDRESS, "port_value": PORT}}
    cluster = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "typed_extension_protocol_options": {HTTP_OPTIONS: options},
        "circuit_breakers": {"thresholds": [{"priority": "DEFAULT", **ROOM}]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": where}}]}],
        },
    }
    return copy.deepcopy(cluster)


def mend_usage(documents: Sequence[Any], chain: Chain) -> None:
    """Give the manager of a chain the usage logger of envoy.yaml, and its cluster, in place.

    A logger that is there keeps the name of its cluster; further ones of OpenTelemetry are removed.
    A cluster that is there gets HTTP/2 and room for retries. If the documents lack the cluster of
    the sidecars, no logger and no cluster is added: clusters come from elsewhere then.
    """
    manager = cast("Node", chain.manager)
    siblings = _list_of(documents, chain.cluster)
    found = [cast("Node", log) for log in usage_loggers(manager) if is_open_telemetry(log)]
    name = cluster_name(found[0]["typed_config"]) if found else ""
    name = name or CLUSTER
    if found:
        _mend_logger(found[0], usage_logger(name))
        logs = manager["access_log"]
        logs[:] = [log for log in logs if not any(log is extra for extra in found[1:])]
    elif siblings is not None:
        list_in(manager, "access_log").append(usage_logger(name))
    cluster = chain.clusters.get(name)
    if cluster is not None:
        _mend_cluster(cast("Node", cluster))
    elif siblings is not None and not any(one.get("name") == name for one in items(siblings)):
        siblings.append(usage_cluster(name))


def _mend_logger(log: Node, wanted: Node) -> None:
    config, ours = log["typed_config"], wanted["typed_config"]
    if not selects_charges(log):
        log["filter"] = wanted["filter"]
    if config.get("body") != ours["body"]:
        config["body"] = ours["body"]
    for field in ("buffer_flush_interval", "buffer_size_bytes", "grpc_service", "http_service"):
        config.pop(field, None)
    common = _inner(config, "common_config")
    _inner(common, "grpc_service").pop("google_grpc", None)
    _set(common, ours["common_config"])


def _mend_cluster(cluster: Node) -> None:
    ours = usage_cluster()
    if "common_lb_config" in cluster:
        _inner(cluster, "common_lb_config").pop("healthy_panic_threshold", None)
    spoken = _inner(_inner(cluster, "typed_extension_protocol_options"), HTTP_OPTIONS)
    spoken.setdefault("@type", f"type.googleapis.com/{HTTP_OPTIONS}")
    if "auto_config" not in spoken:
        explicit = _inner(spoken, "explicit_http_config")
        explicit.pop("http_protocol_options", None)
        wanted = ours["typed_extension_protocol_options"][HTTP_OPTIONS]["explicit_http_config"]
        for field, value in wanted.items():
            explicit.setdefault(field, value)
    thresholds = list_in(_inner(cluster, "circuit_breakers"), "thresholds")
    for one in (cast("Node", each) for each in items(thresholds)):
        if one.get("priority", "DEFAULT") in ("DEFAULT", 0):
            one.update({field: room for field, room in ROOM.items() if one.get(field) != room})
            return
    thresholds.append({"priority": "DEFAULT", **ROOM})


def _list_of(documents: Sequence[Any], cluster: Message | None) -> list[Any] | None:
    """Return the list of clusters that holds this cluster, or None."""
    for listed in under(documents, "clusters"):
        if isinstance(listed, list) and any(one is cluster for one in listed):
            return listed
    return None


def _inner(node: Node, name: str) -> Node:
    """Return a message within another. A missing one is created, another value replaced."""
    found = node.get(name)
    if not isinstance(found, dict):
        found = node[name] = {}
    return cast("Node", found)


def _set(node: Node, wanted: Node) -> None:
    """Set the fields that differ, at any depth: an equal one keeps its comments and its form."""
    for name, value in wanted.items():
        known = node.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            _set(known, value)
        elif known != value:
            node[name] = value
