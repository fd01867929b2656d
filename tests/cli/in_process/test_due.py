"""`authz keys due`."""

from authz.cli.main import MISUSED


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
