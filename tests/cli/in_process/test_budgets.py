"""Budgets by the commands, counted by the sidecars' script on a real store."""

import pytest

from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.usage.commit import Budget, Settlement
from authz.process.clock import SystemClock
from authz.storage.limits.spend_script import SPEND, arguments
from tests.spending.settling import TimedMeter
from tests.support.cli.in_process import refusal
from tests.support.storage import stored


def limits_of(runner, kid):
    """The limits of a key as texts."""
    return runner.valkey.admin.hget(stored.key(kid), "limits").split()


def reserve(runner, kid, cost):
    """Take a request of this cost, as a sidecar does. Return its charge."""
    found = parse_limits("limits", limits_of(runner, kid))
    limits = KeyLimits((LimitGroup(Owner.KEY, kid, found),), OnOutage.LOCAL).taken_by(cost)
    assert limits is not None
    charge = charge_for(limits, cost, SystemClock().wall_ms())
    assert runner.valkey.admin.eval(SPEND, *arguments(charge, SpendRequest(1)))[0] == 1
    return charge


def test_what_is_spent_and_reserved(runner):
    """The command shows what is reserved, and after the settlement what was spent."""
    kid, _ = runner.issue("--limit", "5000/month,of=tokens", "--budget", "12.50/month")
    charge = reserve(runner, kid, Amounts(1, 800, 1_200_000))

    def rows():
        found = runner.run("keys", "limits", kid, "--json").document["limits"]
        return [(r["name"], r["of"], r["used"], r["spent"], r["reserved"]) for r in found]

    assert rows() == [
        ("tokens-month", "tokens", 800, 0, 800),
        ("usd-month", "usd", 1_200_000, 0, 1_200_000),
    ]
    group = LimitGroup(Owner.KEY, kid, ())
    real = {"tokens-month": 950, "usd-month": 1_000_000}
    settlements = {
        Budget(group, taken.ends_ms, taken.counter): Settlement(
            real[taken.counter.split()[0]], taken.units
        )
        for taken in charge.taken
    }
    meter, now = TimedMeter(runner.valkey.admin), SystemClock().wall_ms()
    runner.valkey.admin.mset({"test:seconds": now // 1000, "test:microseconds": 0})
    assert meter.settle(settlements, b"one", now * 1000)
    assert rows() == [
        ("tokens-month", "tokens", 950, 950, 0),
        ("usd-month", "usd", 1_000_000, 1_000_000, 0),
    ]
    text = runner.run("keys", "limits", kid).out
    assert "BUDGET        OF      TOTAL  SPENT  RESERVED  REMAINING\n" in text
    assert "usd-month     usd     12.50  1.00   0.00      11.50\n" in text


def test_set_and_top_up(runner):
    """A budget is set or raised, and the other limits stay. The audit trail has both values."""
    kid, _ = runner.issue("--limit", "5/s")

    def change(*options):
        done = runner.run("keys", "update", kid, *options)
        return limits_of(runner, kid), done

    assert "has no budget usd-month" in change("--budget", "+5/month")[1].error
    assert change("--budget", "25/month")[0] == ["5/s", "25.00/month,of=usd"]
    assert change("--budget", "+0.5/month", "--note", "more")[0] == ["5/s", "25.50/month,of=usd"]
    tokens = change("--budget", "9000/once,of=tokens")[0]
    assert tokens == ["5/s", "25.50/month,of=usd", "9000/once,of=tokens"]
    only_reports = change("--budget", "10/month,enforce=false")
    assert only_reports[0][1] == "10.00/month,of=usd,enforce=false"
    assert change("--budget", "+1/month")[0][1] == "11.00/month,of=usd,enforce=false"
    assert change("--budget", "10/month")[0][1] == "10.00/month,of=usd"
    assert "is another" in change("--budget", "usd-month=1/week")[1].error
    history = runner.run("keys", "history", kid, "--json").document["changes"]
    assert {"old": ["5/s", "25.00/month,of=usd"], "new": ["5/s", "25.50/month,of=usd"]} in [
        each["detail"].get("limits") for each in history
    ]


@pytest.mark.parametrize("options", [("--limit", "5/s"), ("--credits", "5")])
def test_a_budget_beside_other_changes_of_limits(runner, options):
    """One change of limits at a time."""
    kid, _ = runner.issue()
    refused = runner.run("keys", "update", kid, "--budget", "1/month", *options)
    assert "goes neither with" in refusal(refused)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5", "not a limit"),
        ("5/s", "goes with calendar-day"),
        ("0/month", "a budget is 0.000001 to 1000000 dollars"),
        ("5/month,of=requests", "a budget says of=tokens, of=usd or of=bytes_out"),
    ],
)
def test_texts_that_are_no_budget(runner, text, problem):
    """The refusal says what a budget is."""
    kid, _ = runner.issue()
    assert problem in runner.run("keys", "update", kid, "--budget", text).error
