"""Marks of budgets: 80 % and a refusal, each once in a period."""

import pytest

from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendReply, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage, parse_limits
from authz.flows.limits.budget_marks import BudgetMarks
from tests.support.fakes import KID, NOW

COST = Amounts(1, 10, 10, 10)


class Notes:
    """Remembers marks."""

    def __init__(self):
        self.told = []

    def note_budget(self, kid, budget, percent, ends_ms, now):
        self.told.append((kid, budget, percent, ends_ms, now))


def charge_of(*texts, owner=Owner.KEY, now=NOW):
    """A charge to these limits of one owner."""
    group = LimitGroup(owner, KID if owner is Owner.KEY else "acme", parse_limits("x", texts))
    return charge_for(KeyLimits((group,), OnOutage.DENY), COST, now)


def reply(charge, left, wait=0):
    """A reply of the store with so much left of each counter."""
    return SpendReply(
        0 if wait else 1, NOW * 1000, (left,) * len(charge.counters), (wait,) * len(charge.counters)
    )


@pytest.fixture
def notes():
    """An empty one."""
    return Notes()


@pytest.mark.parametrize(("left", "percent"), [(201, None), (200, 80), (0, 80)])
def test_80_percent(notes, left, percent):
    """From 80 % on the mark is reported once, however many replies follow."""
    marks, charge = BudgetMarks(notes), charge_of("1000/month,of=tokens")
    for _ in range(3):
        marks.look(KID, charge, reply(charge, left))
    ends = charge.taken[0].ends_ms
    expected = [(KID, "tokens-month", percent, ends, NOW)] if percent else []
    assert notes.told == expected


def test_a_refusal_comes_after_80_percent(notes):
    """A budget without room is a mark of its own; room that comes back reports nothing more."""
    marks, charge = BudgetMarks(notes), charge_of("1000/once,of=usd")
    for left, wait in ((900, 0), (100, 0), (5, -1), (500, 0), (100, 0), (5, -1)):
        marks.look(KID, charge, reply(charge, left, wait))
    assert [(one[1], one[2], one[3]) for one in notes.told] == [
        ("usd-credits", 80, 0),
        ("usd-credits", 100, 0),
    ]


def test_the_next_period_has_marks_of_its_own(notes):
    """The same budget is reported again in the next month, and pools by their owner."""
    marks = BudgetMarks(notes)
    for now in (NOW, NOW + 40 * 86_400_000):
        charge = charge_of("1000/month,of=bytes_out", owner=Owner.TENANT, now=now)
        marks.look(KID, charge, reply(charge, 0))
    assert [one[1] for one in notes.told] == ["tenant:bytes_out-month"] * 2


def test_other_limits_have_no_marks(notes):
    """Limits of requests are no budgets; beside a limit with a burst the right one is found."""
    marks = BudgetMarks(notes)
    charge = charge_of("10/s,burst=2", "1000/month,of=tokens", "5/month")
    left = (0, 0, 100, 0)
    marks.look(KID, charge, SpendReply(1, NOW * 1000, left, (0,) * 4))
    assert [one[1:3] for one in notes.told] == [("tokens-month", 80)]
    plain = charge_of("10/month")
    marks.look(KID, plain, reply(plain, 0, -1))
    assert len(notes.told) == 1
    BudgetMarks(None).look(KID, charge, SpendReply(1, NOW * 1000, left, (0,) * 4))
