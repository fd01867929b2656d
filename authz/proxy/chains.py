"""Find each ext_authz filter of a configuration with the routes and cluster that belong to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from authz.proxy.document import Message, at, clusters, is_on, items, kind_of, messages, within

FILTER: Final = "ext_authz.v3.ExtAuthz"


@dataclass(frozen=True, slots=True)
class Expected:
    """Requirements of the sidecar's settings. Names are in lower case, durations in seconds."""

    header_prefix: str
    carriers: Sequence[str]
    query: str
    client_address: str
    deadline: float
    delay: float


@dataclass(frozen=True, slots=True)
class Route:
    """A route, or one weighted cluster of it. `exempt`: the filter is off there."""

    name: str
    match: Message
    route: Message
    exempt: bool


@dataclass(frozen=True, slots=True)
class RouteLevel:
    """One level of a route table: the table, a virtual host, a route or a weighted cluster.

    override: its per-route configuration of the filter; empty if it has none.
    """

    name: str
    message: Message
    override: Message


@dataclass(frozen=True, slots=True)
class Chain:
    """One ext_authz filter with its connection manager, routes and cluster.

    config: the filter's own configuration. before: the HTTP filters that run before it.
    is_conditional: another filter contains it and may skip it. unseen: the source of the routes if
    they are not in this file, such as `RDS public`.
    """

    manager: Message
    config: Message
    before: Sequence[Message]
    is_conditional: bool
    routes: Sequence[Route]
    levels: Sequence[RouteLevel]
    unseen: str
    cluster_name: str
    cluster: Message | None

    @property
    def name(self) -> str:
        """Return the name for reports: stat prefix and cluster."""
        return f"{manager_name(self.manager)}/{self.cluster_name or 'ext_authz'}"


def manager_name(manager: Message) -> str:
    """Return the stat prefix of a connection manager."""
    return str(manager.get("stat_prefix", "http"))


def chains(documents: Sequence[Any]) -> Iterator[Chain]:
    """Yield every ext_authz filter."""
    known = {str(cluster.get("name")): cluster for cluster in clusters(documents)}
    for manager in messages(documents, "HttpConnectionManager"):
        table, unseen = _table(documents, manager)
        filters = list(items(manager.get("http_filters")))
        for position, entry in enumerate(filters):
            for config, is_conditional in _ext_authz(documents, entry):
                paths = list(_paths(table, str(entry.get("name"))))
                yield Chain(
                    manager,
                    config,
                    filters[:position],
                    is_conditional,
                    list(_routes(paths, is_on(entry.get("disabled")))),
                    [level for *_, level in paths],
                    unseen,
                    name := str(at(config, "grpc_service", "envoy_grpc", "cluster_name") or ""),
                    known.get(name),
                )


def unprotected(documents: Sequence[Any]) -> Iterator[str]:
    """Yield the name of each connection manager with routes to backends and no ext_authz filter."""
    for manager in messages(documents, "HttpConnectionManager"):
        filters = items(manager.get("http_filters"))
        if any(True for entry in filters for _ in _ext_authz(documents, entry)):
            continue
        table, unseen = _table(documents, manager)
        routes = [route for host in items(table.get("virtual_hosts")) for route in _of(host)]
        if unseen or any("route" in route for route in routes):
            yield manager_name(manager)


def _ext_authz(documents: Sequence[Any], entry: Message) -> Iterator[tuple[Message, bool]]:
    """Yield the configuration of each ext_authz filter that an HTTP filter is or contains.

    The second value is True if another filter contains it.
    """
    config = within(entry, "typed_config")
    if "config_discovery" in entry:
        found = messages(documents, "TypedExtensionConfig")
        named = (one for one in found if one.get("name") == entry.get("name"))
        config = within(next(named, {}), "typed_config")
    if kind_of(config).endswith(FILTER):
        yield config, False
        return
    inner = messages(config, FILTER.rpartition(".")[2])
    yield from ((one, True) for one in inner if kind_of(one).endswith(FILTER))


def _table(documents: Sequence[Any], manager: Message) -> tuple[Message, str]:
    """Return a manager's route table, and the source of routes that are not in this file."""
    table = within(manager, "route_config")
    if "rds" in manager:
        name = str(at(manager, "rds", "route_config_name"))
        named = (
            one for one in messages(documents, "RouteConfiguration") if one.get("name") == name
        )
        table = next(named, {})
        if not table:
            return table, f"RDS {name}"
    if "scoped_routes" in manager:
        return table, "scoped_routes"
    return table, "VHDS" if "vhds" in table else ""


def _of(host: Message) -> Iterator[Message]:
    yield from items(host.get("routes"))


def _paths(table: Message, name: str) -> Iterator[tuple[RouteLevel, ...]]:
    """Yield each level of a route table together with the levels that contain it, outermost first.

    name: the filter's name in typed_per_filter_config.
    """

    def level(where: str, message: Message) -> RouteLevel:
        override = _unwrapped(within(message, "typed_per_filter_config", name))
        return RouteLevel(where, message, override)

    whole = level("all routes", table)
    yield (whole,)
    for host in items(table.get("virtual_hosts")):
        host_name = str(host.get("name", "*"))
        around = (whole, level(f"host {host_name}", host))
        yield around
        for route in _of(host):
            where = f"{host_name}{_pattern(within(route, 'match'))}"
            inside = (*around, level(where, route))
            yield inside
            for weighted in items(at(route, "route", "weighted_clusters", "clusters")):
                yield (*inside, level(f"{where} to {weighted.get('name')}", weighted))


def _unwrapped(override: Message) -> Message:
    """Return the per-route configuration out of the FilterConfig that may wrap it."""
    if not kind_of(override).endswith("route.v3.FilterConfig"):
        return override
    inner = within(override, "config")
    return {**override, **inner, "disabled": _is_off(override) or _is_off(inner)}


def _is_off(override: Message) -> bool:
    return is_on(override.get("disabled"))


def _routes(paths: Sequence[tuple[RouteLevel, ...]], is_off: bool) -> Iterator[Route]:
    """Yield every route. The innermost level with an override decides whether the filter is on.

    is_off: the filter is disabled unless a level enables it.
    """
    for path in paths:
        if len(path) < 3 or (len(path) == 4 and not path[-1].override):  # noqa: PLR2004
            continue
        route = path[2].message
        override = next((level.override for level in reversed(path) if level.override), None)
        exempt = is_off if override is None else _is_off(override)
        yield Route(path[-1].name, within(route, "match"), route, exempt)


def _pattern(match: Mapping[str, Any]) -> str:
    for kind in ("path", "prefix", "path_separated_prefix"):
        if kind in match:
            return f" {kind} {match[kind]}"
    if "safe_regex" in match:
        return f" regex {at(match, 'safe_regex', 'regex')}"
    return f" {next(iter(match), 'any')}"
