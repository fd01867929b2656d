"""Find each ext_authz filter of a configuration with the routes and cluster that belong to it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from authz.proxy.document import Message, at, clusters, is_on, items, kind_of, messages, within

FILTER: Final = "ext_authz.v3.ExtAuthz"


@dataclass(frozen=True, slots=True)
class Expected:
    """Requirements of the sidecar's settings for Envoy.

    carriers: lower-case names of the headers that may hold a key. query: the query parameter that
    may hold one, or empty. client_address: `peer`, or the header with the client's address.
    deadline: check.deadline in seconds. delay: shutdown.delay in seconds. has_rules,
    has_methods, has_hosts: whether there are `routes`, and some for certain methods or hosts only.
    reads_model: some route takes the model from the body of a request. has_budgets: some route
    takes from budgets, which the tokens of answers correct. has_assertions: routes may ask for
    assertions. has_limits: plans or pools have limits; those of keys alone are not known. repeats:
    lower-case names of the headers by which routes tell repeated requests.
    """

    header_prefix: str
    carriers: Sequence[str]
    query: str
    client_address: str
    deadline: float
    delay: float
    has_methods: bool = False
    has_rules: bool = False
    has_hosts: bool = False
    reads_model: bool = False
    has_budgets: bool = False
    has_assertions: bool = False
    has_limits: bool = False
    repeats: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A route, or one weighted cluster of it.

    exempt: no ext_authz filter is on. has_override: it configures a filter itself.
    """

    name: str
    match: Message
    route: Message
    exempt: bool
    has_override: bool
    is_weighted: bool


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
    they are not in this file, such as `RDS public`. clusters: every cluster by its name. version:
    major and minor version of the Envoy that wrote a dump; None for a file.
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
    clusters: Mapping[str, Message]
    version: tuple[int, int] | None

    @property
    def name(self) -> str:
        """Return `STAT_PREFIX/CLUSTER` for reports. `ext_authz` replaces an empty cluster name."""
        return f"{manager_name(self.manager)}/{self.cluster_name or 'ext_authz'}"


def manager_name(manager: Message) -> str:
    """Return the stat_prefix of a connection manager, or `http` if it has none."""
    return str(manager.get("stat_prefix", "http"))


def chains(documents: Sequence[Any]) -> Iterator[Chain]:
    """Yield a Chain for every ext_authz filter of every HTTP connection manager, in file order.

    Its `cluster` is None if the documents do not contain the cluster of that name.
    """
    known = {str(cluster.get("name")): cluster for cluster in clusters(documents)}
    version = _version(documents)
    for manager in messages(documents, "HttpConnectionManager"):
        table, unseen = route_table(documents, manager)
        filters = list(items(manager.get("http_filters")))
        found = [
            (position, config, is_conditional)
            for position, entry in enumerate(filters)
            for config, is_conditional in _ext_authz(documents, entry)
        ]
        routes = list(_common(_routes(table, filters[position]) for position, *_ in found))
        for position, config, is_conditional in found:
            name = str(at(config, "grpc_service", "envoy_grpc", "cluster_name") or "")
            yield Chain(
                manager=manager,
                config=config,
                before=filters[:position],
                is_conditional=is_conditional,
                routes=routes,
                levels=[level for *_, level in _paths(table, filters[position])],
                unseen=unseen,
                cluster_name=name,
                cluster=known.get(name),
                clusters=known,
                version=version,
            )


def _version(documents: Sequence[Any]) -> tuple[int, int] | None:
    for dump in messages(documents, "BootstrapConfigDump"):
        build = within(dump, "bootstrap", "node", "user_agent_build_version", "version")
        major, minor = build.get("major_number"), build.get("minor_number")
        if isinstance(major, int) and isinstance(minor, int):
            return major, minor
    return None


def has_ext_authz(documents: Sequence[Any], manager: Message) -> bool:
    """Return whether a connection manager has an ext_authz filter, also inside another filter."""
    filters = items(manager.get("http_filters"))
    return any(True for entry in filters for _ in _ext_authz(documents, entry))


def _ext_authz(documents: Sequence[Any], entry: Message) -> Iterator[tuple[Message, bool]]:
    """Yield the configuration of each ext_authz filter that an HTTP filter is or contains.

    The second value is True if another filter contains it. A filter with `config_discovery` is
    looked up by its name in the documents; if it is not there, nothing is yielded for it.
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


def route_table(documents: Sequence[Any], manager: Message) -> tuple[Message, str]:
    """Return a manager's route table, and the source of routes that are not in this file.

    The source is `RDS NAME` (then the table is empty), `scoped_routes` or `VHDS`. It is empty if
    the file has all routes.
    """
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


def _paths(table: Message, entry: Message) -> Iterator[tuple[RouteLevel, ...]]:
    """Yield each level of a route table together with the levels that contain it, outermost first.

    entry: the HTTP filter, whose name selects the overrides.
    """
    name = str(entry.get("name"))

    def level(where: str, message: Message) -> RouteLevel:
        override = _unwrapped(within(message, "typed_per_filter_config", name))
        return RouteLevel(where, message, override)

    whole = level("all routes", table)
    yield (whole,)
    for host in items(table.get("virtual_hosts")):
        host_name = str(host.get("name", "*"))
        around = (whole, level(f"host {host_name}", host))
        yield around
        for route in items(host.get("routes")):
            where = f"{host_name}{_pattern(within(route, 'match'))}"
            inside = (*around, level(where, route))
            yield inside
            for weighted in items(at(route, "route", "weighted_clusters", "clusters")):
                yield (*inside, level(f"{where} to {weighted.get('name')}", weighted))


def _unwrapped(override: Message) -> Message:
    """Return the per-route configuration out of the FilterConfig that may wrap it.

    It is `disabled` if the wrapper or the inner configuration is. Without a wrapper it is
    unchanged.
    """
    if not kind_of(override).endswith("route.v3.FilterConfig"):
        return override
    inner = within(override, "config")
    return {**override, **inner, "disabled": _is_off(override) or _is_off(inner)}


def _is_off(override: Message) -> bool:
    return is_on(override.get("disabled"))


def _routes(table: Message, entry: Message) -> Iterator[Route]:
    """Yield every route and every weighted cluster of a route.

    The innermost level with an override decides whether the filter is on. Without an override, the
    filter's own `disabled` decides.
    """
    for path in _paths(table, entry):
        if len(path) < 3:  # noqa: PLR2004  not yet a route
            continue
        override = next((level.override for level in reversed(path) if level.override), None)
        exempt = is_on(entry.get("disabled")) if override is None else _is_off(override)
        route = path[2].message
        yield Route(
            path[-1].name,
            within(route, "match"),
            route,
            exempt,
            has_override=bool(path[-1].override),
            is_weighted=len(path) > 3,  # noqa: PLR2004
        )


def _common(of_filters: Iterable[Iterator[Route]]) -> Iterator[Route]:
    """Yield each route once: it is exempt only if every ext_authz filter is off on it.

    A weighted cluster counts as a route of its own if it has an override of a filter.
    """
    for same in zip(*of_filters, strict=True):
        first = same[0]
        if first.is_weighted and not any(route.has_override for route in same):
            continue
        yield replace(first, exempt=all(route.exempt for route in same))


def _pattern(match: Mapping[str, Any]) -> str:
    for kind in ("path", "prefix", "path_separated_prefix"):
        if kind in match:
            return f" {kind} {match[kind]}"
    if "safe_regex" in match:
        return f" regex {at(match, 'safe_regex', 'regex')}"
    return f" {next(iter(match), 'any')}"
