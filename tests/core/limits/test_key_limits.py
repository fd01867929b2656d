"""The limits of a key (plan, own limits, pools), and the results of spending."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Allow, Charged, Deny, OverLimit, Reason, decide_by_limits
from authz.core.errors import Unavailable
from authz.core.limits.key_limits import KeyLimits, LimitGroup, LimitPolicy, LimitResult, Owner
from authz.core.limits.limit import OnOutage
from tests.support.fakes import make_record
from tests.support.limits import limits

STANDARD = limits("10/s", "300/min")
AGREED = LimitPolicy(
    plans={"standard": STANDARD, "free": ()},
    projects={"p1": limits("1000/min")},
    tenants={"t1": limits("5000/min"), "*": limits("100/min")},
)


def texts(terms):
    """Each account of the terms: whose it is, and its limits as text."""
    return [(a.owner, a.id, " ".join(map(str, a.limits))) for a in terms.groups]


def test_a_key_without_plan_limits_or_pool_is_held_to_nothing():
    """A key without plan, limits and pool has no limits."""
    assert AGREED.of(make_record(project_id="p2"), 0) is None
    assert LimitPolicy().of(make_record(project_id="p1", tenant_id="t1"), 0) is None


def test_a_plan_may_have_no_limits():
    """A key of a plan without limits has no limits."""
    assert AGREED.of(make_record(plan="free"), 0) is None


def test_own_limits_take_the_place_of_those_of_the_plan():
    """One of the same name replaces the plan's, where that stood; another is added."""
    record = make_record(plan="standard", limits=limits("20/s", "5000/h"))

    assert texts(AGREED.of(record, 0)) == [("key", record.kid, "20/s 300/min 5000/h")]


def test_an_unknown_plan_is_no_permission():
    """A key whose plan the settings do not have cannot be judged; nor by its own limits alone."""
    with pytest.raises(Unavailable, match="the settings have no plan gold"):
        AGREED.of(make_record(plan="gold", limits=limits("10/s")), 0)


def test_pools_are_shared_by_name_or_by_everyone_not_named():
    """A project's and a tenant's pool come on top; `*` is a pool of its own for each other id."""
    named = AGREED.of(make_record(project_id="p1", tenant_id="t1", limits=limits("10/s")), 0)
    others = AGREED.of(make_record(project_id="p2", tenant_id="t2"), 0)
    without = AGREED.of(make_record(limits=limits("10/s")), 0)

    assert texts(named)[1:] == [("project", "p1", "1000/min"), ("tenant", "t1", "5000/min")]
    assert texts(others) == [("tenant", "t2", "100/min")]
    assert [account.owner for account in without.groups] == [Owner.KEY]


def test_names_say_whose_pool_it_is():
    """The name of a pool's limit says whose pool it is, so names are unique."""
    own = limits("10/min", "try=50/min,enforce=false")
    terms = AGREED.of(make_record(project_id="p1", tenant_id="t1", limits=own), 0)

    assert terms.names == ("minute", "try", "project:minute", "tenant:minute")
    assert [limit.limit for limit in terms.limits] == [10, 50, 1000, 5000]


def test_a_key_may_say_what_an_outage_means_for_its_limits():
    """A key's own `on_outage` replaces that of the settings."""
    agreed = LimitPolicy(plans={"standard": STANDARD}, on_outage=OnOutage.ALLOW)

    assert agreed.of(make_record(plan="standard"), 0).on_outage is OnOutage.ALLOW
    strict = make_record(plan="standard", on_outage=OnOutage.DENY)
    assert agreed.of(strict, 0).on_outage is OnOutage.DENY


TERMS = KeyLimits(
    (LimitGroup(Owner.KEY, "k", limits("10/s", "100/month", "try=5/s,enforce=false")),),
    OnOutage.LOCAL,
)


@given(st.sets(st.sampled_from([0, 1, 2])))
def test_settle(violated):
    """A limit that is not enforced refuses nothing; a quota that does is said before a rate."""
    record = make_record()
    spent = LimitResult(TERMS, (0, 0, 0), (1000, 5000, 1000), tuple(sorted(violated)))

    decision = decide_by_limits(record, spent)

    assert (decision.key, decision.limit_result) == (record, spent)
    if violated <= {2}:
        assert isinstance(decision, Allow)
    else:
        assert isinstance(decision, Deny)
        quota = 1 in violated
        assert decision.reason is (Reason.QUOTA_EXCEEDED if quota else Reason.RATE_LIMITED)


def test_settled_in_an_outage():
    """A decision on what was known before the outage says so, and is what it is otherwise."""
    allowed = LimitResult(TERMS, (9, 99, 4), (1000, 5000, 1000))
    refused = LimitResult(TERMS, (0, 99, 4), (500, 5000, 1000), (0,), 500)

    assert decide_by_limits(make_record(), allowed, stale=True).stale
    assert decide_by_limits(make_record(), refused, stale=True).stale
    assert isinstance(decide_by_limits(make_record(), allowed, stale=True), Charged)
    assert isinstance(decide_by_limits(make_record(), refused, stale=True), OverLimit)
    assert not decide_by_limits(make_record(), allowed).stale
    assert not decide_by_limits(make_record(), refused).stale
