"""Connection managers without ext_authz, and the listeners for which that is right."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from authz.proxy.chains import has_ext_authz, manager_name, route_table
from authz.proxy.document import at, items, kind_of, messages, under, within

# Envoy Gateway serves the proxy's own metrics at these paths.
_OWN_STATS: Final = frozenset({"/stats", "/stats/prometheus"})
_DENY_ALL: Final = "-deny-due-to-bad-CUSTOM-action"


def unprotected(documents: Sequence[Any]) -> Iterator[str]:
    """Yield the name of each connection manager with routes to backends and no ext_authz filter.

    A manager whose routes are not in this file counts as one with routes to backends. Left out are
    managers for the proxy's own metrics, and a workload's outbound listeners: they serve the
    workload, not its clients.
    """
    outbound = _outbound(documents)
    for manager in messages(documents, "HttpConnectionManager"):
        if has_ext_authz(documents, manager) or id(manager) in outbound:
            continue
        table, unseen = route_table(documents, manager)
        listed = [
            route
            for host in items(table.get("virtual_hosts"))
            for route in items(host.get("routes"))
        ]
        forwarding = [route for route in listed if "route" in route]
        own = all(str(at(route, "match", "path")) in _OWN_STATS for route in forwarding)
        if unseen or (forwarding and not own):
            yield manager_name(manager)


def denying(documents: Sequence[Any]) -> str:
    """Return the first RBAC policy by which Istio denies everything, or an empty string.

    Istio adds it if a CUSTOM policy names a provider that it does not know or cannot resolve.
    """
    for rbac in messages(documents, "RBAC"):
        for name in within(rbac, "rules", "policies"):
            if str(name).endswith(_DENY_ALL):
                return str(name)
    return ""


def _outbound(documents: Sequence[Any]) -> set[int]:
    """Return the `id()` of each manager in an outbound listener; empty if no listener is inbound.

    All listeners of an Istio gateway are outbound: there they serve clients.
    """
    listeners = [*messages(documents, "Listener")]
    listeners += [
        item
        for listed in under(documents, "listeners")
        for item in items(listed)
        if not kind_of(item)
    ]
    if not any(listener.get("traffic_direction") in ("INBOUND", 1) for listener in listeners):
        return set()
    return {
        id(manager)
        for listener in listeners
        if listener.get("traffic_direction") in ("OUTBOUND", 2)
        for manager in messages(listener, "HttpConnectionManager")
    }
