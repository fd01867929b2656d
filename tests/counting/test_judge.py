"""The judge of limits and usage on a cluster."""

from tests.counting.judge import (
    Acknowledged,
    Count,
    Fault,
    Reigns,
    Usage,
    judge_limits,
    judge_usage,
)
from tests.counting.plan import Group
from tests.spending.history import Rate

FIRST, SECOND = 7001, 7002
SECOND_US = 1_000_000
GROUP = Group("10/s", frozenset({0, 1}), Rate(10, 1), is_used_up=True)
CHANGED = [Acknowledged(100, FIRST), Acknowledged(200, FIRST), Acknowledged(500, SECOND)]


def reigns(name, *, in_order, found=CHANGED, ended=600):
    """Return the reigns around a fault from 300 on."""
    return Reigns({0: found}, [Fault(name, 300, ended, in_order)])


def test_a_count_that_a_replica_had_is_kept():
    """A count before an acknowledgement of its node is in every later owner."""
    assert not reigns("owner killed", in_order=False).may_lack(0, 200, FIRST)


def test_a_count_after_the_last_acknowledgement_may_be_lost():
    """An owner that died may have counted more than its replicas had."""
    assert reigns("owner killed", in_order=False).may_lack(0, 201, FIRST)


def test_a_change_in_order_loses_nothing():
    """No count is excused if the old owner handed its data over."""
    assert not reigns("failover", in_order=True).may_lack(0, 201, FIRST)


def test_a_change_without_a_fault_may_lose_counts():
    """A busy machine may have failed over by itself, outside of the fault in good order."""
    assert reigns("failover", in_order=True, ended=400).may_lack(0, 401, FIRST)


def test_the_new_owner_keeps_its_counts():
    """Counts of the new owner are kept, also before its first acknowledgement and at the end."""
    found = reigns("owner killed", in_order=False)
    assert not found.may_lack(0, 350, SECOND)
    assert not found.may_lack(0, 900, SECOND)


def test_replicas_that_follow_the_old_owner_prove_nothing():
    """After TAKEOVER an acknowledgement of the old owner does not keep its counts."""
    found = sorted([*CHANGED, Acknowledged(550, FIRST), Acknowledged(700, SECOND)])
    assert reigns("failover TAKEOVER", in_order=False, found=found).may_lack(0, 520, FIRST)


def moments(*times):
    """Return admissions at these moments, in µs."""
    return [(at, at) for at in times]


def test_a_limit_holds_in_each_window():
    """Eleven requests within a second exceed ten, by keys that share the limit."""
    within = {0: moments(*range(0, 60, 10)), 1: moments(*range(5, 55, 10))}
    apart = {0: moments(*range(0, 60, 10)), 1: moments(*range(SECOND_US, SECOND_US + 50, 10))}

    assert judge_limits([GROUP], within, []).violations
    assert judge_limits([GROUP], apart, []).violations == []


def test_lost_counts_excuse_as_many_requests():
    """A window may hold as many requests more as counts in it were lost."""
    found = {0: moments(*range(0, 120, 10))}

    one, two = [[Count(1, 40, FIRST, units)] for units in (1, 2)]
    assert judge_limits([GROUP], found, one).violations
    assert judge_limits([GROUP], found, two).violations == []
    assert judge_limits([GROUP], found, two).excused == 2


def test_lost_counts_of_other_windows_and_keys_excuse_nothing():
    """Counts of another key, or of a window that ended before, leave the limit as it is."""
    later = 3 * SECOND_US
    found = {0: moments(*range(later, later + 120, 10))}

    assert judge_limits([GROUP], found, [Count(2, later, FIRST, 9)]).violations
    assert judge_limits([GROUP], found, [Count(0, SECOND_US, FIRST, 9)]).violations


def test_an_entry_that_counts_twice():
    """More entries than were sent are a violation, also beside one that is missing."""
    assert judge_usage({0: Usage(10, 11, 0)}, []).violations
    assert judge_usage({0: Usage(10, 10, 1)}, [Count(0, 1, FIRST, 5)]).violations


def test_a_missing_entry_has_to_be_named_and_excused():
    """A missing entry is excused if the store names it and its commit may be lost."""
    assert judge_usage({0: Usage(10, 9, 1)}, [Count(0, 1, FIRST, 1)]).violations == []
    assert judge_usage({0: Usage(10, 9, 0)}, [Count(0, 1, FIRST, 1)]).violations
    assert judge_usage({0: Usage(10, 9, 1)}, [Count(1, 1, FIRST, 1)]).violations
