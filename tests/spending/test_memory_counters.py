"""MemoryCounters against the reference."""

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.limits.charge import SpendReply, SpendRequest, charge_for
from authz.core.limits.memory_counters import MemoryCounters
from tests.spending.plans import BEGIN, make_terms, steps, terms
from tests.spending.reference import Reference

ASKED = st.tuples(steps(), st.sampled_from((1, 1, 2, 5)), st.integers(0, 20))


@settings(max_examples=150)
@given(plan=terms(), asked=st.lists(ASKED, max_size=50))
def test_it_does_what_the_model_says(plan, asked):
    """Memory counters reply as the reference does, for random plans, costs and times."""
    counters, model, now = MemoryCounters(), Reference(), BEGIN
    for step, cost, wanted in asked:
        now += step
        taken = charge_for(plan, cost, now // 1000)
        assert counters.spend(taken, wanted, now) == model.spend(taken, SpendRequest(wanted), now)


def test_it_begins_with_what_the_store_said_last():
    """The counters start with the store's last reply and take no later one until dropped."""
    counters, taken = (
        MemoryCounters(),
        charge_for(make_terms("10/min", "10/calendar-day"), 1, BEGIN // 1000),
    )
    said = SpendReply(1, BEGIN, (4, 2), (0, 0))
    counters.open(taken, said)
    assert counters.spend(taken, 9, BEGIN).granted == 2
    counters.open(taken, said)
    assert counters.spend(taken, 9, BEGIN).granted == 0

    counters.forget(taken)
    assert len(counters) == 0
    assert counters.spend(taken, 20, BEGIN).granted == 10


def test_what_was_said_of_another_period_does_not_count():
    """The reply of an earlier period does not count in the current one."""
    counters, terms_ = MemoryCounters(), make_terms("10/calendar-day")
    today = charge_for(terms_, 1, BEGIN // 1000)
    counters.open(today, SpendReply(0, BEGIN - 86_400_000_000, (0,), (5,)))
    assert counters.spend(today, 20, BEGIN).granted == 10
