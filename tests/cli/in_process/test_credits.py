"""Credits by the commands, counted by the sidecars' script on a real store."""

import json
import subprocess

import pytest

from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage, parse_limits
from authz.storage.limits.spend_script import SPEND, arguments
from tests.support.cli.in_process import AUTHZ, refusal
from tests.support.storage import stored

FOREIGN = "sk-0123456789abcdef0123456789abcdef"


def spend(runner, kid, wanted=1):
    """Ask for so many requests as a sidecar does, by the key's limits. Return the granted ones."""
    texts = runner.valkey.admin.hget(stored.key(kid), "limits").split()
    group = LimitGroup(Owner.KEY, kid, parse_limits("limits", texts))
    charge = charge_for(KeyLimits((group,), OnOutage.LOCAL), 1, 0)
    return runner.valkey.admin.eval(SPEND, *arguments(charge, SpendRequest(wanted)))[0]


def show(runner, kid):
    """The record of a key as a document."""
    return runner.run("keys", "show", kid, "--json").document


def test_used_up_and_refilled(runner):
    """With 3 credits 3 requests pass and the 4th is refused. A refill of 2 lets 2 more pass."""
    kid, text = runner.issue("--credits", "3")
    assert [spend(runner, kid) for _ in range(4)] == [1, 1, 1, 0]
    [row] = runner.run("keys", "limits", kid, "--json").document["limits"]
    told = (row["name"], row["per"], row["zone"], row["used"], row["remaining"], row["resets_at"])
    assert told == ("credits", "once", None, 3, 0, None)
    assert " never\n" in runner.run("keys", "limits", kid).out
    verified = runner.run("keys", "verify", stdin=text)
    assert verified.code == 1
    assert "credits 3 of 3, no room; passes after a refill" in verified.out

    assert runner.run("keys", "update", kid, "--credits", "+2", "--note", "paid").code == 0
    assert [spend(runner, kid) for _ in range(3)] == [1, 1, 0]
    assert show(runner, kid)["credits"] == {"total": 5, "used": 5, "left": 0}
    assert "credits            0 left of 5\n" in runner.run("keys", "show", kid).out
    history = runner.run("keys", "history", kid, "--json").document
    changed = {"limits": {"old": ["3/once"], "new": ["5/once"]}}
    assert changed in [change["detail"] for change in history["changes"]]


def test_counters_of_credits_stay(runner):
    """A reset of limits, a rotation and another plan give no used credits back."""
    (runner.directory / "authz.yaml").write_text("plans: {trial: [10/once], tried: [10/once]}")
    config = ("--config", "authz.yaml")
    kid, _ = runner.issue("--credits", "10", "--limit", "20/d", "--plan", "trial", *config)
    assert spend(runner, kid, 4) == 4
    reset = runner.run("keys", "reset-limits", kid)
    assert reset.out == f"the counters of {kid} are 0, except those of credits\n"
    assert runner.run("keys", "rotate", kid).code == 0
    assert runner.run("keys", "update", kid, "--plan", "tried", *config).code == 0
    for change in ("--credits", "none"), ("--name", "x"):  # its own credits, then those of its plan
        limits = runner.run("keys", "limits", kid, "--json", *config).document["limits"]
        assert {row["name"]: row["used"] for row in limits} == {"day": 0, "credits": 4}
        assert runner.run("keys", "update", kid, *change).code == 0
    years = runner.valkey.admin.pttl(stored.limit(kid)) / 86_400_000 / 365
    assert years > 100

    runner.run("keys", "revoke", kid)
    assert runner.run("keys", "delete", kid).code == 0
    assert not runner.valkey.admin.exists(stored.limit(kid))


def test_set_remove_and_keep(runner):
    """A total replaces the total, `none` removes it, and other limits are another matter."""
    kid, _ = runner.issue("--limit", "5/s")

    def change(*options):
        done = runner.run("keys", "update", kid, *options)
        return [f"{row['limit']}/{row['per']}" for row in show(runner, kid)["limits"]], done

    assert "has no credits of its own" in change("--credits", "+5")[1].error
    assert change("--credits", "20000")[0] == ["5/s", "20000/once"]
    assert change("--limit", "6/s", "--limit", "60/min")[0] == ["6/s", "60/min", "20000/once"]
    assert change("--clear", "limit")[0] == ["20000/once"]
    assert change("--credits", "300", "--limit", "7/s")[0] == ["7/s", "300/once"]
    assert change("--credits", "none")[0] == ["7/s"]
    assert "is so already" in change("--credits", "none")[1].out
    assert change("--limit", "5/once")[0] == ["5/once"]
    assert "gives a limit of the name" in refusal(change("--limit", "5/once", "--credits", "7")[1])
    assert change("--credits", "1000000000000")[0] == ["1000000000000/once"]
    assert "the total may be 1000000000000" in change("--credits", "+1")[1].error


def test_two_refills_at_once(runner):
    """Refills that several commands make at the same time all count."""
    kid, _ = runner.issue("--credits", "100")
    command = [*AUTHZ, "keys", "update", kid, "--credits", "+10"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    for process in running:
        process.stdout.close()
    assert show(runner, kid)["credits"]["total"] == 140


def test_many_keys(runner):
    """A refill of many keys adds to each, and names those without credits."""
    kids = [runner.issue("--credits", str(total))[0] for total in (10, 20)]
    bare, _ = runner.issue()
    done = runner.run("keys", "update", "--client", "acme-web", "--credits", "+5", "--yes")
    assert done.code == 1
    assert f"not updated: {bare}: it has no credits of its own" in done.err
    assert [show(runner, kid)["credits"]["total"] for kid in kids] == [15, 25]
    assert spend(runner, kids[0], 4) == 4

    out = runner.run("keys", "list", "--columns", "kid,credits,credits-left").out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:]}
    assert rows == {kids[0]: ["15", "11"], kids[1]: ["25", "25"], bare: ["-", "-"]}
    found = runner.run("keys", "list", "--columns", "credits-left", "--json").document["keys"]
    assert {key["kid"]: key["credits_left"] for key in found} == {
        kids[0]: 11,
        kids[1]: 25,
        bare: None,
    }


def test_credits_of_a_plan(runner):
    """Each key of a plan with credits has its own, and a key's own credits take their place."""
    (runner.directory / "authz.yaml").write_text("plans: {trial: [100/once]}")
    config = ("--config", "authz.yaml")
    kid, _ = runner.issue("--plan", "trial", *config)
    own, _ = runner.issue("--plan", "trial", "--credits", "7", *config)
    out = runner.run("keys", "list", "--columns", "kid,credits", *config).out
    assert dict(line.split() for line in out.splitlines()[1:]) == {kid: "100", own: "7"}


def test_counters_that_cannot_be_read(runner):
    """A garbled counter of credits is told, and a reset removes it."""
    kid, _ = runner.issue("--credits", "9")
    runner.valkey.admin.hset(stored.limit(kid), "credits once unit", "x" * 13)
    done = runner.run("keys", "show", kid, "--json")
    assert done.document["credits"] is None
    assert "credits cannot be read: GARBLED" in done.err
    assert "GARBLED" in runner.run("keys", "list", "--columns", "credits-left").error
    assert runner.run("keys", "reset-limits", kid).code == 0
    assert show(runner, kid)["credits"]["left"] == 9


def test_a_declared_key(runner):
    """An export carries credits, and a refill in the store alone gets into the file."""
    kid, _ = runner.issue("--credits", "50", "--name", "shop")
    path = runner.directory / "keys.yaml"
    path.write_text(runner.run("keys", "export").out)
    assert "limits: [50/once]" in path.read_text()
    assert runner.run("apply", "-f", "keys.yaml", "--yes").code == 0
    runner.run("keys", "update", kid, "--credits", "+25")
    path.write_text(path.read_text().replace("name: shop", "name: stall"))
    assert runner.run("apply", "-f", "keys.yaml", "--yes").code == 0
    assert "- 75/once" in path.read_text()
    assert (show(runner, kid)["name"], show(runner, kid)["credits"]["total"]) == ("stall", 75)


@pytest.mark.parametrize("value", ["40", 40])
def test_import(runner, value):
    """An imported key has the credits of its field, as a number or as a text."""
    line = json.dumps({"key": FOREIGN, "client": "a", "credits": value, "limit": "5/s"})
    [row] = runner.run("keys", "import", "--json", stdin=line).document["rows"]
    assert [limit["limit"] for limit in show(runner, row["kid"])["limits"]] == [5, 40]


def test_import_of_a_table(runner):
    """A column of a table may hold credits."""
    table = f"key,client,credits\n{FOREIGN},a,40\n{FOREIGN}2,a,\n"
    assert runner.run("keys", "import", stdin=table).code == 0
    out = runner.run("keys", "list", "--columns", "credits").out
    assert sorted(out.split()) == ["-", "40", "CREDITS"]


@pytest.mark.parametrize("value", [0, -5, True, 1.5, "+5", "1e3", "none", 10**20, [5]])
def test_bad_credits_of_an_import(runner, value):
    """Other values are refused by the name of the field."""
    line = json.dumps({"key": FOREIGN, "client": "a", "credits": value})
    done = runner.run("keys", "import", stdin=line)
    assert "credits: has to be a whole number from 1 to 1000000000000" in done.err


BAD = ["0", "-5", "1e20", "100000000000000000000", "+x", "+0", "++5", "+-5", "", " 5", "5 ", "٣"]


@pytest.mark.parametrize("text", [*BAD, "007", "1_000"])
def test_bad_changes(runner, text):
    """A change that is none is refused before the store is asked."""
    problem = refusal(runner.run("keys", "update", "7Hk2mQ9xT4bVzR1c", "--credits", text))
    assert "a total such as 20000, more such as +5000, or none" in problem


@pytest.mark.parametrize("text", [*BAD, "+5", "none"])
def test_bad_credits_of_a_new_key(runner, text):
    """A new key has a whole number of credits."""
    problem = refusal(runner.run("keys", "issue", "--client", "a", "--credits", text))
    assert "credits are a whole number from 1 to 1000000000000" in problem


def test_credits_twice(runner):
    """Credits by --limit and by --credits are two limits of one name."""
    done = runner.run("keys", "issue", "--client", "a", "--limit", "5/once", "--credits", "7")
    assert "two limits are called credits" in refusal(done)
