"""The extractor of CheckRequests and the responder, for the sidecar and for `authz keys verify`."""

from authz.core.budgets.learned import Estimates
from authz.core.keys.keyring import Keyring
from authz.core.routes import RouteTable
from authz.process.clock import SystemClock
from authz.rpc.check.assertion import AssertionHeaders
from authz.rpc.check.extract import Extractor
from authz.rpc.check.pricing import Pricing
from authz.rpc.check.respond import Responder
from authz.rpc.check.response_parts import AnyChargeIds
from authz.settings.model import Settings
from authz.settings.routes import BudgetCost


def route_table(settings: Settings) -> RouteTable | None:
    """Return the table of `routes`.

    None if there are no rules and unmatched requests are not denied. Raises BadInput for an invalid
    rule.
    """
    deny_unmatched = settings.routes_default == "deny"
    if not settings.routes and not deny_unmatched:
        return None
    ignore_case = settings.routes_case == "insensitive"
    return RouteTable(
        [given.rule(ignore_case=ignore_case) for given in settings.routes],
        deny_unmatched=deny_unmatched,
        ignore_case=ignore_case,
        drop_suffix=settings.routes_suffix == "dropped",
        env=settings.check.env,
    )


def learns(settings: Settings) -> bool:
    """Return whether a route takes a learned estimate."""
    costs = (rule.cost for rule in settings.routes)
    return any(isinstance(cost, BudgetCost) and cost.is_learned for cost in costs)


def extractor(settings: Settings, ring: Keyring, estimates: Estimates | None = None) -> Extractor:
    """Return the extractor for these settings. Raises BadInput for an invalid route rule.

    estimates: the learned ones; None: there are none.
    """
    source = settings.extract.client_address
    return Extractor(
        ring,
        carriers=settings.extract.headers,
        query=settings.extract.query,
        address_header="" if source == "peer" else source,
        env=settings.check.env,
        enforce=settings.check.enforce,
        rules=route_table(settings),
        pricing=Pricing(settings.prices.book(), SystemClock().wall_ms, estimates),
    )


def responder(
    settings: Settings,
    reading: Extractor,
    ids: AnyChargeIds | None = None,
    assertions: AssertionHeaders | None = None,
) -> Responder:
    """Return the Responder, which writes CheckResponses. reading: finds keys in a request.

    ids: the charge ids of this process; None begins new ones. assertions: None writes none.
    Only carriers that are a header without a scheme are removed from the request.
    """
    carriers = settings.extract.headers
    return Responder(
        header_prefix=settings.identity.header_prefix,
        removed_headers=[c.removesuffix(":") for c in carriers if c.endswith(":")],
        query=settings.extract.query,
        legacy_headers=settings.limits.legacy_headers,
        find_keys=reading.find_keys,
        ids=ids,
        assertions=assertions,
        budget_remaining=settings.identity.budget_remaining,
    )
