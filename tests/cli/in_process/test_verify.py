"""`authz keys verify`: the decision on a key, and its reason."""

import re

import pytest

from tests.support.cli.in_process import refusal


def test_verify_allows(runner):
    """Every check has a line, and the exit code is 0."""
    kid, text = runner.issue("--scope", "a:b", "--cidr", "10.0.0.0/8", "--host", "*.example.com")
    request = ("--scope", "a:b", "--ip", "10.1.2.3", "--host", "API.example.com:443")
    done = runner.run("keys", "verify", *request, stdin=f"{text}\n")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"\nallow: {kid} of client acme-web\n")
    assert len(done.out.splitlines()) == 16
    document = runner.run("keys", "verify", "--json", *request, stdin=text).document
    assert (document["decision"], document["status"], document["kid"]) == ("allow", 200, kid)
    assert {check["result"] for check in document["checks"]} == {"ok"}


@pytest.mark.parametrize(
    ("options", "check", "why"),
    [
        (("--ip", "11.0.0.1"), "address", "'11.0.0.1'; allowed 10.0.0.0/8"),
        ((), "address", "no --ip; allowed 10.0.0.0/8"),
        (("--ip", "10.0.0.1", "--scope", "c:d"), "scope", "required c:d; held a:b"),
        (("--ip", "10.0.0.1", "--env", "test"), "environment", "key live; route test"),
    ],
)
def test_verify_denies(runner, options, check, why):
    """The denying check has its reason and the compared facts. The exit code is 1."""
    _, text = runner.issue("--scope", "a:b", "--cidr", "10.0.0.0/8")
    done = runner.run("keys", "verify", *options, stdin=text)
    assert done.code == 1
    assert re.search(rf"^{check} +DENY  {re.escape(why)}$", done.out, re.MULTILINE)
    document = runner.run("keys", "verify", "--json", *options, stdin=text).document
    assert document["reason"] in done.out
    (found,) = [entry for entry in document["checks"] if entry["result"] == "deny"]
    assert (found["check"], found["reason"], found["why"]) == (check, document["reason"], why)


def test_verify_goes_by_the_environment_of_the_settings(runner, monkeypatch):
    """Without --env, check.env decides."""
    _, text = runner.issue()
    monkeypatch.setenv("AUTHZ_CHECK__ENV", "test")
    assert "key live; route test" in runner.run("keys", "verify", stdin=text).out
    assert runner.run("keys", "verify", "--env", "live", stdin=text).code == 0


def test_verify_shows_no_key(runner):
    """No answer contains the key, whatever is wrong with it."""
    _, text = runner.issue()
    for given in (text, text[:-1], text.replace("_", "-"), f"{text},{text}", text.upper()):
        done = runner.run("keys", "verify", stdin=given)
        assert text[30:-7] not in done.out + done.err
        assert text[30:-7].upper() not in done.out + done.err


@pytest.mark.parametrize(
    "stdin",
    ["", " \n", "a\nb\n", "x" * 5000, b"\xff\xfe"],
    ids=["empty", "blank", "two lines", "long", "not text"],
)
@pytest.mark.parametrize("command", [("verify",), ("revoke", "--key-stdin")], ids=" ".join)
def test_stdin_without_a_key(runner, command, stdin):
    """Anything but one line on stdin is wrong usage, in one line."""
    assert "stdin: " in refusal(runner.run("keys", *command, stdin=stdin))
