"""Refunds: an audit entry first, then the counter."""

import pytest

from authz.core.audit import Action
from authz.core.changes import Refused
from authz.core.errors import BadInput, Conflict, NotFound, Unavailable
from authz.flows.conditions import Conditions
from authz.flows.limits.refunds import Refunding, parse_refund
from tests.support.fakes import KID, NOW
from tests.support.flows.rigs import SPEC, LifecycleRig
from tests.support.limits import MemoryCounters

BUDGET = parse_refund("budget", "800/month,of=tokens")
FIELD = "tokens-month month tokens UTC"


class Counters(MemoryCounters):
    """Counters that remember refunds, and the actions in the audit trail at that time."""

    def __init__(self, rig, **more):
        super().__init__(NOW, **more)
        self.rig = rig
        self.refunds = []
        self.refund_fault = None

    async def refund(self, charge, units, now_ms):
        if self.refund_fault:
            raise self.refund_fault
        ((group, (counter,)),) = charge.groups
        self.refunds.append((group.id, counter.field, units, now_ms, self.rig.actions))


class Rig(LifecycleRig):
    """A lifecycle, and refunds over counters in memory."""

    def __init__(self, **more):
        super().__init__()
        self.counters = Counters(self, **more)
        self.refunding = Refunding(self.keys, self.counters, self.clock)

    async def issued(self):
        return (await self.keys.issue(SPEC, self.author())).record.kid


async def test_the_entry_comes_before_the_units():
    """The audit trail has the refund when the counter is changed, in the store's own period."""
    rig = Rig(used={FIELD: 900}, moves=40 * 86_400_000)
    kid = await rig.issued()
    await rig.refunding.refund(kid, BUDGET, rig.author())
    moved = NOW + 40 * 86_400_000
    assert rig.counters.refunds == [(kid, FIELD, 800, moved, [Action.ISSUE, Action.REFUND])]
    assert rig.store.records[kid].version == 2


async def test_refunds_that_are_refused():
    """More than was used, another version, a revoked key and an unknown one change nothing."""
    rig = Rig(used={FIELD: 799})
    kid = await rig.issued()
    refused = await rig.refunding.refund(kid, BUDGET, rig.author())
    assert isinstance(refused, Refused)
    assert "has used 799 of tokens-month" in refused.why
    rig.counters.used = {FIELD: 800}
    with pytest.raises(Conflict):
        await rig.refunding.refund(kid, BUDGET, rig.author(), Conditions(version=7))
    await rig.refunding.refund(kid, BUDGET, rig.author(), Conditions(dry_run=True))
    await rig.revoke(kid)
    assert isinstance(await rig.refunding.refund(kid, BUDGET, rig.author()), Refused)
    with pytest.raises(NotFound):
        await rig.refunding.refund(KID, BUDGET, rig.author())
    assert (rig.counters.refunds, Action.REFUND in rig.actions) == ([], False)


async def test_a_store_that_fails_between_the_two():
    """The error says that the entry is there, and where to look for the units."""
    rig = Rig(used={FIELD: 800})
    kid = await rig.issued()
    rig.counters.refund_fault = Unavailable("gone")
    with pytest.raises(Unavailable, match=f"in the audit trail.*gone.*limits {kid}"):
        await rig.refunding.refund(kid, BUDGET, rig.author())
    assert rig.actions == [Action.ISSUE, Action.REFUND]


@pytest.mark.parametrize("text", ["5/month", "10000/once", "0/month,of=usd", "x", ""])
def test_text_that_is_no_refund(text):
    """Only budgets are refunded, and never nothing."""
    with pytest.raises(BadInput):
        parse_refund("budget", text)
