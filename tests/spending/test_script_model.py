"""spend.lua on a real Valkey does what the plain reference model says, to the microsecond."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from authz.core.limits.charge import SpendRequest, charge_for
from tests.spending.plans import BEGIN, steps, terms
from tests.spending.reference import Reference
from tests.spending.store import TimedStore


class Spending(RuleBasedStateMachine):
    """The script and the model side by side."""

    client = None

    @initialize(plan=terms())
    def begin(self, plan):
        self.client.flushdb()
        self.store, self.model = TimedStore(self.client), Reference()
        self.key_limits, self.now = plan, BEGIN
        self.grants = []

    def spend(self, cost, wanted, back=0, booked=0):
        wanted_now = charge_for(self.key_limits, cost, self.now // 1000)
        lease = self.now % (wanted + 1)  # decides nothing
        given = (wanted_now, SpendRequest(wanted, lease, back, booked), self.now)
        receipt = self.store.spend(*given)
        assert receipt == self.model.spend(*given)
        return receipt

    @rule(cost=st.sampled_from((1, 1, 1, 2, 5, 50)), wanted=st.integers(0, 30))
    def ask(self, cost, wanted):
        receipt = self.spend(cost, wanted)
        if receipt.granted:
            self.grants.append((cost, receipt))

    @rule(cost=st.sampled_from((1, 3)))
    def ask_for_one(self, cost):
        receipt = self.spend(cost, 1)
        if not receipt.granted and min(receipt.waits_us) >= 0:
            self.retry(cost, receipt)

    def retry(self, cost, refused):
        """A microsecond before the wait is over it is refused still, and then it is not."""
        counters = charge_for(self.key_limits, cost, self.now // 1000).counters
        rows = zip(counters, refused.waits_us, strict=True)
        longest = max(wait for counter, wait in rows if counter.enforced)
        self.now += longest - 1
        assert self.spend(cost, 1).granted == 0
        self.now += 1
        assert self.spend(cost, 1).granted == 1

    @rule(data=st.data())
    def give_back(self, data):
        if self.grants:
            cost, receipt = self.grants.pop()
            back = data.draw(st.integers(1, receipt.granted))
            self.spend(cost, data.draw(st.integers(0, 2)), back, receipt.now_us)

    @rule(owed=st.integers(1, 40))
    def come_back_from_an_outage(self, owed):
        self.spend(1, 1, -owed)

    @rule(by=steps())
    def wait(self, by):
        self.now += by

    @rule(plan=terms())
    def change_the_limits(self, plan):
        self.key_limits = plan


@pytest.fixture
def machine(valkey):
    """The machine on a store of its own."""
    Spending.client = valkey.admin
    return Spending


def test_the_script_does_what_the_model_says(machine):
    """Random plans, costs, times, returns and debts: the same grant, rest and wait."""
    case = machine.TestCase()
    case.settings = settings(max_examples=20, stateful_step_count=200, deadline=None)
    case.runTest()
