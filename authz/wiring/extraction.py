"""The extractor of CheckRequests, for the sidecar and for `authz keys verify`."""

from authz.core.keys.keyring import Keyring
from authz.core.routes import Facts, RouteTable, Rule
from authz.rpc.check.extract import Extractor
from authz.settings.model import Settings


def route_table(settings: Settings) -> RouteTable | None:
    """Return the table of `routes`, or None if there are no rules."""
    deny_unmatched = settings.routes_default == "deny"
    if not settings.routes and not deny_unmatched:
        return None
    rules = []
    for given in settings.routes:
        scopes = None if given.scopes is None else frozenset(given.scopes.split())
        optional = None if given.auth is None else given.auth == "optional"
        facts = Facts(scopes, optional, given.env, given.cost)
        rules.append(Rule.parse("routes", given.path, given.host, given.methods, facts))
    return RouteTable(rules, deny_unmatched=deny_unmatched)


def extractor(settings: Settings, ring: Keyring) -> Extractor:
    """Return the extractor for these settings."""
    source = settings.extract.client_address
    return Extractor(
        ring,
        carriers=settings.extract.headers,
        query=settings.extract.query,
        address_header="" if source == "peer" else source,
        env=settings.check.env,
        rules=route_table(settings),
    )
