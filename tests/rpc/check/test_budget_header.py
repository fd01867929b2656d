"""The header that tells backends what is left of budgets: set or removed with every allow."""

import pytest

from authz.core.decision import Allow, Charged, Deny, OverLimit, Reason
from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendReply, charge_for, limit_result
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import parse_limits
from authz.core.request import Route
from authz.rpc.check.strip import Strip
from tests.support.fakes import NOW, make_record, make_request
from tests.support.rpc.answers import told

NAME = "x-auth-budget-remaining"
COST = Amounts(1, 800, 900)


def charged(*texts, left=(412, 7, 5), waits=(0, 0, 0)):
    """A request that passed, or did not, with so much left of these limits."""
    record = make_record(limits=parse_limits("limits", texts))
    charge = charge_for(LimitPolicy().of(record, 0).taken_by(COST), COST, NOW)
    count = len(charge.counters)
    granted = not any(waits)
    result = limit_result(charge, SpendReply(granted, NOW * 1000, left[:count], waits[:count]))
    return Charged(record, result) if granted else OverLimit(Reason.QUOTA_EXCEEDED, record, result)


def shown(decision, request=None, *, is_on=True, **settings):
    """The values of the header, and whether it is removed."""
    ok = told(decision, request, budget_remaining=is_on, **settings).ok_response
    values = [one.header.value for one in ok.headers if one.header.key == NAME]
    return values, NAME in ok.headers_to_remove


def test_the_rest_of_enforced_budgets():
    """Each enforced budget is named with its rest; other limits are not."""
    texts = ("5000/month,of=tokens", "try=9/month,of=usd,enforce=false", "600/month")
    assert shown(charged(*texts)) == (['"tokens-month";r=412'], False)
    two = ("5000/month,of=tokens", "cap=9/month,of=usd")
    assert shown(charged(*two)) == (['"tokens-month";r=412, "cap";r=7'], False)


@pytest.mark.parametrize(
    ("decision", "is_on"),
    [
        (charged("600/month"), True),
        (charged("try=9/month,of=usd,enforce=false"), True),
        (charged("5000/month,of=tokens"), False),
        (Allow(make_record()), True),
        (Allow(None), True),
    ],
)
def test_without_a_budget_or_the_setting(decision, is_on):
    """The header of a client is removed."""
    assert shown(decision, is_on=is_on) == ([], True)


def test_a_refusal_that_is_only_reported():
    """A request over its budget that passes all the same shows what is left."""
    request = make_request(route=Route(enforce=False))
    finder = {"find_keys": lambda _request: Strip()}
    over = charged("5000/month,of=tokens", left=(3,), waits=(9,))
    assert shown(over, request, **finder) == (['"tokens-month";r=3'], False)
    assert shown(Deny(Reason.EXPIRED), request, **finder) == ([], True)
