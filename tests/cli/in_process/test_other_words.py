"""Words of other tools: an alias, a synonym or a hint."""

import json
import re

import pytest


def test_create_is_issue(runner):
    """`keys create` issues a key."""
    assert runner.run("keys", "create", "--client", "acme").out.startswith("ak_live_")


@pytest.mark.parametrize(
    ("word", "hint"),
    [("remove", "keys delete KID"), ("rm", "keys revoke KID"), ("get", "keys show KID")],
)
def test_an_unknown_command_has_a_hint(runner, word, hint):
    """The error of a word from another tool names our command. The exit code is 2."""
    done = runner.run("keys", word, "7Hk2mQ9xT4bVzR1c")
    assert (done.code, done.out) == (2, "")
    assert f"no such command '{word}'" in done.err
    assert f"`authz {hint}`" in done.err


@pytest.mark.parametrize("word", ["issue", "revoke", "rotate", "list", "rollback"])
def test_a_command_of_keys_alone_has_a_hint(runner, word):
    """`authz revoke` names `authz keys revoke`, and not a command with a similar name."""
    done = runner.run(word, "7Hk2mQ9xT4bVzR1c")
    assert (done.code, done.out) == (2, "")
    assert f"no such command '{word}': it is `authz keys {word}`" in done.err


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("leaked", "key_compromise"),
        ("keyCompromise", "key_compromise"),
        ("Key-Compromise", "key_compromise"),
        ("replaced", "superseded"),
        ("unpaid", "privilege_withdrawn"),
        ("superseded", "superseded"),
    ],
)
def test_a_common_word_is_a_reason(runner, word, reason):
    """--reason takes a common word for a reason of RFC 5280."""
    key = json.loads(runner.run("keys", "issue", "--client", "acme", "--json").out)
    done = runner.run("keys", "revoke", key["kid"], "--reason", word, "--json")
    assert json.loads(done.out)["record"]["revocation_reason"] == reason


def test_an_unknown_reason_is_refused(runner):
    """The error lists the reasons, and a common word."""
    done = runner.run("keys", "revoke", "7Hk2mQ9xT4bVzR1c", "--reason", "because")
    assert done.code == 2
    assert "key_compromise" in done.err
    assert "leaked" in done.err


@pytest.mark.parametrize("rest", ["", "_1abc", "…", "..."])
def test_a_part_of_a_key_as_kid_names_the_kid(runner, rest):
    """A key that was cut off, in place of a kid, is answered with its kid."""
    done = runner.run("keys", "revoke", f"ak_live_7Hk2mQ9xT4bVzR1c{rest}")
    assert (done.code, done.out) == (2, "")
    assert "its kid is 7Hk2mQ9xT4bVzR1c" in done.err


def test_the_doctor_names_every_mistake_of_the_settings(runner):
    """Each mistake is a finding of its own."""
    (runner.directory / "bad.yaml").write_text("outage: {grace: x}\ncheck: {deadline: soon}\n")
    done = runner.run("doctor", "--config", "bad.yaml", "--json")
    assert done.code == 1
    found = json.loads(done.out)["findings"]
    assert {each["found"].partition(":")[0] for each in found} == {"outage.grace", "check.deadline"}


def test_a_client_without_keys_is_an_error(runner):
    """A mistyped client exits with 1; one whose keys are all revoked with 0."""
    runner.run("keys", "issue", "--client", "acme")
    assert runner.run("keys", "revoke", "--client", "acme", "--yes").code == 0
    assert runner.run("keys", "revoke", "--client", "acme", "--yes").code == 0
    done = runner.run("keys", "revoke", "--client", "acne", "--yes", "--json")
    assert done.code == 1
    assert json.loads(done.out)["revoked"] == []
    assert "client acne has no keys" in done.err


def test_the_doctor_says_that_it_did_not_look_at_envoy(runner):
    """Without --envoy one line names the option. With it, the line is gone."""
    line = re.compile(r"^ok    envoy        not looked at; `authz doctor --envoy", re.MULTILINE)
    assert line.search(runner.run("doctor").out)
