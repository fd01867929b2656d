"""`authz keys due`."""

from authz.cli.main import MISUSED
from authz.core.begun_delivery import BegunDelivery
from authz.core.keys.seed import Seed


def settings(runner, text):
    """Write settings and return the options that name them."""
    (runner.directory / "authz.yaml").write_text(f"plans: {{gold: [10/s]}}\nrotation: {text}\n")
    return ("--config", "authz.yaml")


def test_due(runner):
    """Keys are listed by their due time: that of their plan, else of the default."""
    both = settings(runner, "{plans: {gold: {rotate_every: 1d}}, default: {rotate_every: 10d}}")
    gold = runner.run(*both, "keys", "issue", "--client", "a", "--plan", "gold", "--json").document
    kid, _ = runner.issue(client="b")
    off, _ = runner.issue(client="c")
    runner.run("keys", "disable", off)
    rows = runner.run(*both, "keys", "due", "--json").document["keys"]
    assert [row["kid"] for row in rows] == [gold["kid"], kid]
    assert not any(row["is_overdue"] for row in rows)
    (first,) = runner.run(*both, "keys", "due", "--within", "2d", "--json").document["keys"]
    assert (first["kid"], first["client"], first["plan"]) == (gold["kid"], "a", "gold")
    assert runner.run(*both, "keys", "due", "--within", "0").out == "no key is due\n"
    shown = runner.run(*both, "keys", "due").out.splitlines()
    assert (len(shown), shown[1].split()[-1]) == (3, "due")


def test_no_policy(runner):
    """Without a policy no key is due."""
    runner.issue()
    assert runner.run("keys", "due", "--within", "3650d").out == "no key is due\n"
    assert runner.run("keys", "due", "--within", "soon").code == MISUSED


def begin_delivery(runner, kid, began_at=1_000):
    """Let the store remember that the delivery of a new secret has begun."""
    entry = BegunDelivery("vault", 0, began_at, 1, Seed(bytes(32), "1"), "alice", "")
    names = runner.names(kid)
    runner.valkey.admin.hset(names.deliveries, kid, entry.text())


def test_keys_show_names_a_pending_delivery(runner):
    """`keys show` says that the new secret has not arrived, and names its target."""
    kid, _ = runner.issue()
    other, _ = runner.issue()
    assert runner.run("keys", "rotate", kid, "--grace", "30d").code == 0
    begin_delivery(runner, kid)
    about = {"target": "vault", "secret": "2", "since": "1970-01-01T00:00:01.000Z"}
    shown = runner.run("keys", "show", kid, "--json").document
    assert shown["delivery"] == about | {"is_undecided": False}
    out = runner.run("keys", "show", kid).out
    assert f"delivery           pending since {about['since']}: secret 2 to the target vault" in out
    assert "until the new secret has arrived, its holder needs the old one" in out
    assert runner.run("keys", "show", other, "--json").document["delivery"] is None
    assert "delivery" not in runner.run("keys", "show", other).out
    runner.run("keys", "retire", kid, "--secret", "old")
    assert "its holder has none" in runner.run("keys", "show", kid).out
    runner.run("keys", "rotate", kid)
    assert "delivery" not in runner.run("keys", "show", kid).out
