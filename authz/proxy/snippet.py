"""The parts of an Envoy configuration that authz needs, for a configuration of one's own."""

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

from authz.core.listen_address import Address
from authz.proxy.chains import Expected
from authz.proxy.llm import PER_ROUTE
from authz.proxy.repair import TYPES, allow_headers, repair
from authz.proxy.retries import OUTLIERS
from authz.proxy.usage_logger import ADDRESS, PORT

EXT_AUTHZ = f"{TYPES}.filters.http.ext_authz.v3.ExtAuthz"
MANAGER = f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"

METER = Address(ADDRESS, PORT)

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_HEAD = """\
# Merge `manager` into the HTTP connection manager, with the filters before the router, and add the
# clusters to static_resources. Exempt routes by exact path, restrict them by prefix.
"""
_LLM_HEAD = "# Merge `llm_route` into each route of an LLM, and no other.\n"


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block."""

    def represent_source(self, node: dict[str, Any]) -> yaml.MappingNode:
        """Return the node of a mapping, in the style of a block if it holds such text."""
        found = self.represent_dict(node)
        for _, value in found.value:
            if isinstance(value, yaml.ScalarNode) and "\n" in value.value:
                value.style, found.flow_style = "|", False
        return found


_Dumper.add_representer(dict, _Dumper.represent_source)


def snippet(
    expected: Expected,
    sidecars: Sequence[Address],
    meters: Sequence[Address] = (METER,),
    *,
    llm: bool = False,
) -> str:
    """Return the YAML for sidecars and meters at these addresses: the manager, and two clusters.

    Several sidecars get retries and outlier detection, also if they have names. A cluster is STATIC
    if every address is a socket path or an IP address, else STRICT_DNS. llm: with the filter for
    LLMs, and the fields of a route that turn it on.
    """
    asked = {"cluster_name": "authz", "authority": "authz.local", "skip_envoy_headers": True}
    service = {"envoy_grpc": asked, "timeout": "0.5s"}
    config = {"@type": EXT_AUTHZ, "transport_api_version": "V3", "grpc_service": service}
    allow_headers(config, expected)
    manager: dict[str, Any] = {
        "@type": MANAGER,
        "use_remote_address": True,
        "http_filters": [{"name": "envoy.filters.http.ext_authz", "typed_config": config}],
    }
    cluster: dict[str, Any] = {
        "name": "authz",
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
    }
    if len(sidecars) > 1:
        cluster["outlier_detection"] = dict(OUTLIERS)
    _place(cluster, sidecars)
    clusters = [cluster]
    repair(
        [{"manager": manager, "clusters": clusters}],
        replace(expected, reads_model=expected.reads_model or llm),
    )
    _place(clusters[1], meters)
    del manager["@type"]
    parts: dict[str, Any] = {"manager": manager, "clusters": clusters}
    if llm:
        parts["llm_route"] = PER_ROUTE
    head = _HEAD + _LLM_HEAD * llm
    return head + yaml.dump(
        parts, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100
    )


def _place(cluster: dict[str, Any], addresses: Sequence[Address]) -> None:
    cluster["type"] = "STATIC" if all(map(_is_static, addresses)) else "STRICT_DNS"
    endpoints = [{"lb_endpoints": [_endpoint(address) for address in addresses]}]
    cluster["load_assignment"] = {"cluster_name": cluster["name"], "endpoints": endpoints}


def _is_static(address: Address) -> bool:
    if address.path:
        return True
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return False
    return True


def _endpoint(address: Address) -> dict[str, Any]:
    """Return the Envoy endpoint of an address. 0.0.0.0 and :: become the loopback address."""
    if address.path:
        return {"endpoint": {"address": {"pipe": {"path": address.path}}}}
    host = _LOOPBACK.get(address.host, address.host)
    where = {"address": host, "port_value": address.port}
    return {"endpoint": {"address": {"socket_address": where}}}
