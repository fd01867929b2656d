"""Where a configuration asks an authorization service, and everything that has a say in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from authz.proxy.document import Message, at, clusters, is_on, items, messages, within


@dataclass(frozen=True, slots=True)
class Expected:
    """What the sidecar's settings ask of the proxy. Names in lower case, durations in seconds."""

    header_prefix: str
    carriers: Sequence[str]
    query: str
    client_address: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a backend. `exempt`: the filter is off on it."""

    name: str
    match: Message
    route: Message
    exempt: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """One ext_authz filter with the connection manager, routes and cluster around it."""

    manager: Message
    filters: Sequence[Message]
    position: int
    routes: Sequence[Route]
    cluster_name: str
    cluster: Message | None

    @property
    def config(self) -> Message:
        """The ext_authz filter's own configuration."""
        return within(self.filters[self.position], "typed_config")

    @property
    def name(self) -> str:
        """How a person knows it."""
        return f"{self.manager.get('stat_prefix', 'http')}/{self.cluster_name or 'ext_authz'}"


def chains(documents: Sequence[Any]) -> Iterator[Chain]:
    """Every place where a Check is asked for."""
    known = {str(cluster.get("name")): cluster for cluster in clusters(documents)}
    configurations = {
        str(found.get("name")): found for found in messages(documents, "RouteConfiguration")
    }
    for manager in messages(documents, "HttpConnectionManager"):
        filters = list(items(manager.get("http_filters")))
        inline = within(manager, "route_config")
        wanted = str(at(manager, "rds", "route_config_name"))
        table = inline or configurations.get(wanted, {})
        for position, entry in enumerate(filters):
            config = within(entry, "typed_config")
            if not str(config.get("@type", "")).endswith("ext_authz.v3.ExtAuthz"):
                continue
            name = str(at(config, "grpc_service", "envoy_grpc", "cluster_name") or "")
            yield Chain(
                manager, filters, position, list(_routes(table, entry)), name, known.get(name)
            )


def _routes(table: Message, entry: Message) -> Iterator[Route]:
    name = str(entry.get("name"))
    for host in items(table.get("virtual_hosts")):
        for route in items(host.get("routes")):
            levels = [
                within(level, "typed_per_filter_config", name) for level in (route, host, table)
            ]
            own = next((level for level in levels if level), None)
            exempt = is_on(entry.get("disabled")) if own is None else is_on(own.get("disabled"))
            where = f"{host.get('name', '*')}{_pattern(within(route, 'match'))}"
            yield Route(where, within(route, "match"), route, exempt)


def _pattern(match: Mapping[str, Any]) -> str:
    for kind in ("path", "prefix", "path_separated_prefix"):
        if kind in match:
            return f" {kind} {match[kind]}"
    return f" regex {at(match, 'safe_regex', 'regex')}"
