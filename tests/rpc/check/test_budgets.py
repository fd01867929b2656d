"""Routes with budgets in the gate: their price, and the metadata that a usage record needs."""

from dataclasses import replace

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.budgets.learned import Estimates, Statistic, parse_learned
from authz.core.budgets.prices import Price, PriceBook, PriceVersion
from authz.core.budgets.spending import Spending
from authz.core.decision import Allow, Charged, Deny, Reason
from authz.core.errors import UnknownPrice
from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendReply, charge_for, limit_result
from authz.core.limits.key_limits import KeyLimits, LimitGroup, LimitPolicy, Owner
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.limits.reserved import parse_reserved
from authz.core.request import ChargeOnce, Route
from authz.core.route_facts import Facts
from authz.core.route_rule import Rule
from authz.core.routes import RouteTable
from authz.rpc.check.pricing import Pricing
from tests.support.fakes import KID, NOW, make_record, make_request
from tests.support.rpc.answers import responder
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import extractor, read

MINI, BIG = Price(*[1_000_000] * 5), Price(*[5_000_000] * 5)
BEFORE = PriceVersion("v1", 0, {"mini": MINI}, BIG)
AFTER = PriceVersion("v2", 2000, {"mini": BIG}, None)
PATH = "/v1/models/{model}:generate"


def route_of(path, now=1000, **spending):
    """The route of a request for a path, or the reason against it."""
    facts = Facts(spending=Spending(800, model_variable=True, **spending), label="generate")
    rules = RouteTable([Rule.parse("routes", PATH, "", (), facts)])
    pricing = Pricing(PriceBook([BEFORE, AFTER]), lambda: now)
    request = read(settings={"rules": rules, "pricing": pricing}, path=path)
    if isinstance(request.credential, Deny):
        return request.credential.reason
    return request.route


def test_a_model_of_the_price_table():
    """Its requests take the estimate, in tokens and in money."""
    route = route_of("/v1/models/mini:generate")
    assert route.cost == Amounts(1, 800, 800)
    assert (route.priced_as, route.model) == ("mini", "mini")
    assert route.terms.startswith("1,1,0,0,0;v1,1000000,")


def test_a_model_that_the_table_does_not_name():
    """Such a model has the default price, and the record does not have the client's text."""
    route = route_of("/v1/models/my%20own:generate")
    assert route.cost == Amounts(1, 800, 4000)
    assert route.priced_as == "other"


def test_prices_change_at_their_time():
    """From the beginning of the next version on, its prices hold; without a default it refuses."""
    assert route_of("/v1/models/mini:generate", now=1999).terms.startswith("1,1,0,0,0;v1,")
    later = route_of("/v1/models/mini:generate", now=2000)
    assert later.cost == Amounts(1, 800, 4000)
    assert later.terms.startswith("1,1,0,0,0;v2,")
    assert route_of("/v1/models/other:generate", now=2000) is Reason.MODEL_NOT_PRICED


def test_the_cost_of_the_proxy_is_that_of_requests():
    """`cost` of context_extensions replaces the units, and leaves the estimate."""
    facts = Facts(spending=Spending(800))
    rules = RouteTable([Rule.parse("routes", "/v1/chat", "", (), facts)])
    request = read(settings={"rules": rules}, path="/v1/chat", extensions={"cost": "7"})
    assert request.route.cost == Amounts(7, 800, None)


@pytest.mark.parametrize(("cost", "units", "taken"), [(50, 1, 50), (0, 7, 7), (None, 0, 1)])
def test_a_path_of_two_rules_takes_the_higher_cost(cost, units, taken):
    """An escape must not make a dear route cheap by the rule of a route with a budget."""
    dear, plain = Facts(cost=cost), Facts(spending=Spending(800, units=units))
    paths = {"/m/{m}:batch": dear, "/m/{m}": plain}
    rules = RouteTable([Rule.parse("routes", path, "", (), of) for path, of in paths.items()])
    request = read(settings={"rules": rules}, path="/m/a%3Abatch")
    assert request.route.cost == Amounts(taken, 800, None)


@pytest.mark.parametrize("granted", [0, 1])
def test_the_metadata_of_a_request(granted):
    """An allow says what was taken and by which terms it is settled."""
    route = Route(cost=Amounts(1, 800, 900), label="chat", priced_as="mini", terms="1,1,0,0,0;-")
    texts = ("10/s", "5000/month,of=tokens", "try=0.01/month,of=usd,enforce=false")
    record = make_record(limits=parse_limits("limits", texts))
    limits = LimitPolicy().of(record, 0)
    assert limits is not None
    charge = charge_for(limits, route.cost, NOW)
    reply = SpendReply(granted, NOW * 1000, (9, 4200, 0), (0, 0, 5_000_000))
    decision = Charged(record, limit_result(charge, reply))
    raw = responder().write(decision, make_request(route=route))
    found = dict(CheckResponse.FromString(raw).dynamic_metadata)
    assert (found["charged"], found["model"], found["settle"]) == ("1", "mini", "1,1,0,0,0;-")
    if not granted:
        assert "reserved" not in found
        return
    ((taken,), _) = parse_reserved(found["reserved"])  # nothing of the budget that only reports
    assert (taken.units, taken.ends_ms) == (800, charge.ends)
    assert taken.counter == "tokens-month month tokens UTC"


def test_equal_budgets_of_key_and_tenant_are_told_apart():
    """The key takes from its own budget if only that of its tenant reports that it is full."""
    same = parse_limits("limits", ("5000/month,of=tokens,enforce=false",))
    groups = (LimitGroup(Owner.KEY, KID, same), LimitGroup(Owner.TENANT, "acme", same))
    charge = charge_for(KeyLimits(groups, OnOutage.DENY), Amounts(1, 800), NOW)
    result = limit_result(charge, SpendReply(1, NOW * 1000, (4200, 0), (0, 5_000_000)))
    assert [taken.owner for taken in parse_reserved(result.reserved)[0]] == [Owner.KEY]


def test_a_key_without_limits_is_counted_all_the_same():
    """Its allows have the terms, so that its tokens and their cost are in the usage."""
    route = Route(cost=Amounts(1, 800), priced_as="mini", terms="1,1,0,0,0;-")
    raw = responder().write(Allow(make_record()), make_request(route=route))
    found = dict(CheckResponse.FromString(raw).dynamic_metadata)
    assert (found["settle"], found.get("reserved")) == ("1,1,0,0,0;-", None)


def test_the_headers_of_budgets():
    """RateLimit-Policy says the unit of a budget."""
    texts = ("5000/month,of=tokens", "1/once,of=usd")
    record = make_record(limits=parse_limits("limits", texts))
    limits = LimitPolicy().of(record, 0)
    assert limits is not None
    charge = charge_for(limits, Amounts(1, 800, 900), NOW)
    result = limit_result(charge, SpendReply(1, NOW * 1000, (4200, 999_100), (0, 0)))
    raw = responder().write(Charged(record, result), make_request())
    headers = {
        option.header.key: option.header.value
        for option in CheckResponse.FromString(raw).ok_response.response_headers_to_add
    }
    assert headers["ratelimit-policy"].startswith('"tokens-month";q=5000;w=')
    assert headers["ratelimit-policy"].endswith(
        ';qu="tokens", "usd-credits";q=1000000;qu="micro-usd"'
    )


def test_a_budget_of_money_without_prices():
    """The limits of such a key are not known. A budget of tokens needs no price."""
    cost = Amounts(1, 800, None)
    money, tokens = (
        LimitPolicy().of(make_record(limits=parse_limits("limits", [text])), NOW)
        for text in ("5/month,of=usd", "5000/month,of=tokens")
    )
    assert money is not None
    assert tokens is not None
    assert tokens.taken_by(cost) is tokens
    with pytest.raises(UnknownPrice):
        money.taken_by(cost)


def test_a_learned_estimate_holds_as_soon_as_it_is_read():
    """The most is reserved first, then what was learned of this route and model."""
    facts = Facts(spending=Spending(4096, learned=Statistic.MEAN), label="chat")
    rules = RouteTable([Rule.parse("routes", "/v1/chat", "", (), facts)])
    estimates = Estimates()
    pricing = Pricing(PriceBook([BEFORE]), lambda: 1000, estimates)
    reader = extractor(rules=rules, pricing=pricing)
    raw = check_request({}, path="/v1/chat").SerializeToString()
    first = reader.read(raw).route
    assert first.cost == Amounts(1, 4096, 5 * 4096)
    estimates.replace({("chat", "other"): parse_learned("500 128 80 500 640 90")})
    learned = reader.read(raw).route
    assert learned.cost == Amounts(1, 128, 664)
    estimates.replace({("chat", "other"): parse_learned("900 127 80 900 641 90")})
    assert reader.read(raw).route is learned  # the same steps


def test_a_request_that_was_charged_before():
    """A retry has 0 units in its record, and its name with the budgets of its first attempt."""
    route = route_of("/v1/models/mini:generate")
    route = replace(route, charge_once=ChargeOnce(("idempotency-key",), 60_000))
    limits = parse_limits("limits", ("5000/month,of=tokens", "9/min"))
    key_limits = KeyLimits((LimitGroup(Owner.KEY, KID, limits),), OnOutage.LOCAL)
    charge = charge_for(key_limits, route.cost, NOW)
    taken = f"k!800!{NOW + 5}!tokens-month~month~tokens~UTC;o!{'n' * 22}"
    for is_repeat, units in ((False, "1"), (True, "0"), (False, "1")):
        reply = SpendReply(1, NOW * 1000, (4200, 8), (0, 0), is_repeat, taken)
        decision = Charged(make_record(), limit_result(charge, reply))
        written = responder().write(decision, make_request(route=route))
        found = dict(CheckResponse.FromString(written).dynamic_metadata)
        assert (found["charged"], found["reserved"]) == (units, taken)
        assert found["settle"] == route.terms
