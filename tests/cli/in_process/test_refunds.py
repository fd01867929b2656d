"""Refunds of budgets by `authz keys refund`, on a real store."""

import json

from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.usage.commit import Budget, Commit, Settlement
from authz.core.usage.counts import Level
from authz.storage.limits.spend_script import SPEND, arguments
from authz.storage.schema import DEFAULT
from authz.storage.usage.usage_script import COMMIT
from authz.storage.usage.usage_script import arguments as commit_arguments
from tests.support.cli.in_process import refusal
from tests.support.storage import stored

COST = Amounts(1, 800, 1_500_000)


def budgets(runner, kid):
    """Return the used, spent and reserved units of each budget, by its name."""
    rows = runner.run("keys", "limits", kid, "--json").document["limits"]
    return {row["name"]: (row["used"], row["spent"], row["reserved"]) for row in rows}


def spend(runner, kid, requests, settled=0):
    """Take so many requests as a sidecar does, and settle each at the estimate."""
    client = runner.valkey.admin
    seconds, _ = client.time()
    texts = client.hget(stored.key(kid), "limits").split()
    group = LimitGroup(Owner.KEY, kid, parse_limits("limits", texts))
    charge = charge_for(KeyLimits((group,), OnOutage.LOCAL), COST, seconds * 1000)
    assert client.eval(SPEND, *arguments(charge, SpendRequest(requests)))[0] == requests
    settlements = {
        Budget(LimitGroup(Owner.KEY, kid, ()), taken.ends_ms, taken.counter): Settlement(
            settled * taken.units, settled * taken.units
        )
        for taken in charge.taken
    }
    commit = Commit(settlements=settlements)
    kept = dict.fromkeys(Level, 86_400)
    client.eval(COMMIT, *commit_arguments(DEFAULT, commit, [], kept, seconds * 1000))


def test_a_refund(runner):
    """A refund is taken off the spent units, then off the reserved ones, with an audit entry."""
    limits = ("--limit", "5000/month,of=tokens", "--budget", "9/once", "--limit", "7/month")
    kid, _ = runner.issue(*limits)
    spend(runner, kid, 3, settled=2)
    found = runner.run("keys", "refund", kid, "--budget", "2.50/once", "--note", "bad answers")
    assert found.out == f"2.50 of usd-credits of {kid} are back\n"
    assert budgets(runner, kid)["usd-credits"] == (2_000_000, 500_000, 1_500_000)
    assert runner.run("keys", "refund", kid, "--budget", "2000/month,of=tokens").code == 0
    assert budgets(runner, kid)["tokens-month"] == (400, 0, 400)
    assert budgets(runner, kid)["month"][0] == 3
    changes = runner.run("keys", "history", kid, "--json").document["changes"]
    assert [(one["note"], one["detail"]) for one in changes if one["action"] == "refund"] == [
        ("", {"budget": "tokens-month", "units": 2000}),
        ("bad answers", {"budget": "usd-credits", "units": 2_500_000}),
    ]
    assert json.dumps(changes).count("refund") == 2


def test_more_than_was_used(runner):
    """Nobody gets back more than the key has used, and such a try leaves no audit entry."""
    kid, _ = runner.issue("--budget", "9/month", "--limit", "5000/month,of=tokens")
    spend(runner, kid, 1)
    for budget in ("1.500001/month", "1/week", "1/month@15", "1/once,of=tokens"):
        said = runner.run("keys", "refund", kid, "--budget", budget)
        assert said.code == 1
        assert "less than the refund" in said.err
    assert budgets(runner, kid)["usd-month"][0] == 1_500_000
    assert len(runner.run("keys", "history", kid, "--json").document["changes"]) == 1


def test_text_that_is_no_refund(runner):
    """Limits of requests, negative amounts and other text are refused before the store is asked."""
    kid, _ = runner.issue()
    for budget in ("5/month,of=requests", "-1/month", "0/month", "1", "x" * 999, "1/s,of=tokens"):
        refusal(runner.run("keys", "refund", kid, "--budget", budget))


def test_a_key_that_cannot_be_refunded(runner):
    """A revoked key gets nothing back; an unknown key is reported."""
    kid, _ = runner.issue("--budget", "9/month")
    spend(runner, kid, 1)
    runner.run("keys", "revoke", kid)
    assert "is revoked" in runner.run("keys", "refund", kid, "--budget", "1/month").err
    assert runner.run("keys", "refund", "7Hk2mQ9xT4bVzR1c", "--budget", "1/month").code == 1
