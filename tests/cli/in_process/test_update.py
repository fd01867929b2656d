"""`authz keys update`, and `authz completion`."""

import os
import subprocess

import pytest

from tests.support.cli.in_process import AUTHZ


def test_update_moves_a_key_to_another_client(runner):
    """A moved key is on the list of its new client."""
    kid, _ = runner.issue()
    assert runner.run("keys", "update", kid, "--client", "acme-batch").out == f"updated {kid}\n"
    lists = {
        client: runner.run("keys", "list", "--client", client, "--json").document["keys"]
        for client in ("acme-web", "acme-batch")
    }
    assert [len(found) for found in lists.values()] == [0, 1]


def test_a_throttle(runner):
    """Every command shows the throttle and the lowered limit; `--clear throttle` ends it."""
    kid, text = runner.issue("--limit", "100/s", "--limit", "1000/month")
    done = runner.run("keys", "update", kid, "--throttle", "25%:6h", "--note", "a loop")
    assert (done.code, done.out) == (0, f"updated {kid}\n")
    record = runner.run("keys", "show", kid, "--json").document
    assert record["throttle"]["percent"] == 25
    assert "25% until" in runner.run("keys", "show", kid).out

    def limits():
        rows = runner.run("keys", "limits", kid, "--json").document["limits"]
        return [row["limit"] for row in rows]

    assert limits() == [25, 1000]
    assert "rates are lowered to 25% until" in runner.run("keys", "verify", stdin=text).out
    assert "throttle" in runner.run("keys", "history", kid).out
    assert runner.run("keys", "update", kid, "--clear", "throttle").code == 0
    assert limits() == [100, 1000]
    assert "throttle" not in runner.run("keys", "show", kid).out
    for wrong in ("24%:6h", "25%", "25%:31d"):
        done = runner.run("keys", "update", kid, "--throttle", wrong)
        assert (done.code, "--throttle" in done.err) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(runner, shell):
    """The script for the shell calls this program."""
    done = runner.run("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert "_AUTHZ_COMPLETE" in done.out


def test_completion_of_words(runner):
    """The program completes its own commands and values."""
    variables = {"_AUTHZ_COMPLETE": "bash_complete", "COMP_CWORD": "4"}
    words = {"COMP_WORDS": "authz keys list --status re"}
    done = subprocess.run(
        [*AUTHZ], capture_output=True, text=True, check=False, env=os.environ | variables | words
    )
    assert (done.stdout, done.stderr) == ("plain,revoked\n", "")
