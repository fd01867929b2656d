"""Where a configuration asks an authorization service, and everything that has a say in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from authz.proxy.document import Message, at, clusters, is_on, items, kind_of, messages, within

FILTER: Final = "ext_authz.v3.ExtAuthz"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the sidecar's settings ask of the proxy. Names in lower case, durations in seconds."""

    header_prefix: str
    carriers: Sequence[str]
    query: str
    client_address: str
    deadline: float
    delay: float


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a backend. `exempt`: the filter is off on it."""

    name: str
    match: Message
    route: Message
    exempt: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A place where routes are spoken of: all of them, a host, one, one of its weighted clusters.

    said: what it says of the filter itself.
    """

    name: str
    message: Message
    said: Message


@dataclass(frozen=True, slots=True)
class Chain:
    """One ext_authz filter with the connection manager, routes and cluster around it.

    config: the filter's own configuration. is_conditional: it stands within another filter, which
    may leave it out. unseen: where its routes come from, when they are not in this file.
    """

    manager: Message
    config: Message
    before: Sequence[Message]
    is_conditional: bool
    routes: Sequence[Route]
    places: Sequence[Place]
    unseen: str
    cluster_name: str
    cluster: Message | None

    @property
    def name(self) -> str:
        """How a person knows it."""
        return f"{manager_name(self.manager)}/{self.cluster_name or 'ext_authz'}"


def manager_name(manager: Message) -> str:
    """How a person knows a connection manager."""
    return str(manager.get("stat_prefix", "http"))


def chains(documents: Sequence[Any]) -> Iterator[Chain]:
    """Every place where a Check is asked for."""
    known = {str(cluster.get("name")): cluster for cluster in clusters(documents)}
    for manager in messages(documents, "HttpConnectionManager"):
        table, unseen = _table(documents, manager)
        filters = list(items(manager.get("http_filters")))
        for position, entry in enumerate(filters):
            for config, is_conditional in _asking(documents, entry):
                places = list(_places(table, str(entry.get("name"))))
                yield Chain(
                    manager,
                    config,
                    filters[:position],
                    is_conditional,
                    list(_routes(places, is_on(entry.get("disabled")))),
                    [place for *_, place in places],
                    unseen,
                    name := str(at(config, "grpc_service", "envoy_grpc", "cluster_name") or ""),
                    known.get(name),
                )


def unasked(documents: Sequence[Any]) -> Iterator[str]:
    """Each connection manager that leads to backends, and in which nobody is asked."""
    for manager in messages(documents, "HttpConnectionManager"):
        filters = items(manager.get("http_filters"))
        if any(True for entry in filters for _ in _asking(documents, entry)):
            continue
        table, unseen = _table(documents, manager)
        routes = [route for host in items(table.get("virtual_hosts")) for route in _of(host)]
        if unseen or any("route" in route for route in routes):
            yield manager_name(manager)


def _asking(documents: Sequence[Any], entry: Message) -> Iterator[tuple[Message, bool]]:
    """The configuration of each ext_authz filter that an HTTP filter is or holds."""
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
    """A manager's routes, and where more come from that are not in the file."""
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


def _places(table: Message, name: str) -> Iterator[tuple[Place, ...]]:
    """Each place with those around it, the outermost first."""

    def place(where: str, message: Message) -> Place:
        return Place(where, message, _own(within(message, "typed_per_filter_config", name)))

    whole = place("all routes", table)
    yield (whole,)
    for host in items(table.get("virtual_hosts")):
        host_name = str(host.get("name", "*"))
        around = (whole, place(f"host {host_name}", host))
        yield around
        for route in _of(host):
            where = f"{host_name}{_pattern(within(route, 'match'))}"
            inside = (*around, place(where, route))
            yield inside
            for weighted in items(at(route, "route", "weighted_clusters", "clusters")):
                yield (*inside, place(f"{where} to {weighted.get('name')}", weighted))


def _own(said: Message) -> Message:
    """What is said of a filter, out of the FilterConfig that it may be wrapped in."""
    if not kind_of(said).endswith("route.v3.FilterConfig"):
        return said
    inner = within(said, "config")
    return {**said, **inner, "disabled": _is_off(said) or _is_off(inner)}


def _is_off(said: Message) -> bool:
    return is_on(said.get("disabled"))


def _routes(places: Sequence[tuple[Place, ...]], is_off: bool) -> Iterator[Route]:
    """Every way to a backend; the nearest place that says something of the filter decides."""
    for around in places:
        if len(around) < 3 or (len(around) == 4 and not around[-1].said):  # noqa: PLR2004
            continue
        route = around[2].message
        own = next((place.said for place in reversed(around) if place.said), None)
        exempt = is_off if own is None else _is_off(own)
        yield Route(around[-1].name, within(route, "match"), route, exempt)


def _pattern(match: Mapping[str, Any]) -> str:
    for kind in ("path", "prefix", "path_separated_prefix"):
        if kind in match:
            return f" {kind} {match[kind]}"
    if "safe_regex" in match:
        return f" regex {at(match, 'safe_regex', 'regex')}"
    return f" {next(iter(match), 'any')}"
