"""Changes of all keys that fit conditions, and the end of one secret."""

import stat

import pytest

from tests.support.cli.in_process import on_a_terminal, refusal
from tests.support.fakes import KID


def three(runner):
    """Issue two keys of a client and one of another."""
    first, _ = runner.issue("--name", "shop-1", "--metadata", "team=web")
    second, _ = runner.issue("--name", "batch-1")
    other, _ = runner.issue("--name", "shop-2", client="acme-batch")
    return first, second, other


def test_several_conditions_must_all_hold(runner):
    """disable changes the keys that fit all conditions, and reports by outcome."""
    first, second, other = three(runner)
    done = runner.run(
        "keys", "disable", "--client", "acme-web", "--name", "shop-*", "--metadata", "team=web",
        "--yes",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "client acme-web, name shop-*, metadata team=web: 1 disabled, 0 already disabled, "
        "0 failed\n"
    )
    assert [runner.status(kid) for kid in (first, second, other)] == [
        "disabled",
        "active",
        "active",
    ]
    again = runner.run("keys", "enable", "--status", "disabled", "--yes", "--json").document
    assert (again["enabled"], again["matched"]) == ([first], 1)


def test_a_dry_run_prints_the_changes_and_makes_none(runner):
    """--dry-run prints a line for each key; nothing asks, and nothing changes."""
    first, second, _ = three(runner)
    asked = ("keys", "update", "--client", "acme-web", "--name", "new", "--dry-run")
    done = runner.run(*asked)
    assert done.code == 0
    assert f"{first}  name shop-1 -> new\n{second}  name batch-1 -> new\n" in done.out
    assert (
        "dry run, nothing is changed: client acme-web: 2 updated, 0 already so, 0 failed"
        in done.out
    )
    document = runner.run(*asked, "--json").document
    assert document["would_change"][0] == {
        "kid": first,
        "changes": {"name": {"old": "shop-1", "new": "new"}},
    }
    assert (document["dry_run"], document["updated"]) == (True, [])
    assert runner.run("keys", "show", first, "--json").document["name"] == "shop-1"


def test_update_of_selected_keys(runner):
    """Without KID, --client selects; with --where it is the new client."""
    first, second, other = three(runner)
    done = runner.run("keys", "update", "--client", "acme-web", "--limit", "5/s", "--yes", "--wait")
    assert done.out == "client acme-web: 2 updated, 0 already so, 0 failed; no sidecar is running\n"
    where = ("--where", "client=acme-web", "--where", "name=shop-*")
    moved = runner.run("keys", "update", *where, "--client", "acme-batch", "--yes", "--json")
    assert moved.document["updated"] == [first]
    listed = runner.run("keys", "list", "--client", "acme-batch", "--json").document["keys"]
    assert {key["kid"] for key in listed} == {first, other}
    assert runner.run("keys", "show", second, "--json").document["client_id"] == "acme-web"


def test_refused_keys_are_named(runner):
    """A revoked key is refused, the others are changed, and the exit code is 1."""
    first, second, _ = three(runner)
    runner.run("keys", "revoke", first)
    done = runner.run("keys", "disable", "--client", "acme-web", "--yes")
    assert done.code == 1
    assert "1 disabled, 0 already disabled, 1 refused, 0 failed" in done.out
    assert done.err.startswith(f"not disabled: {first} is revoked, which is final")
    assert runner.status(second) == "disabled"


@pytest.mark.parametrize(
    "command", [("revoke",), ("disable",), ("enable",), ("update", "--env", "live", "--name", "a"),
                ("rotate", "--secrets-to", "d")]
)  # fmt: skip
def test_nothing_matched(runner, command):
    """A condition that no key fits gives exit code 1, so that a mistyped client is noticed."""
    runner.issue()
    chosen = ("--where", "client=TYPO") if command[0] == "update" else ("--client", "TYPO")
    done = runner.run("keys", *command, *chosen, "--yes")
    assert (done.code, "TYPO" in done.err) == (1, True)


def test_rotate_writes_each_secret_to_a_file(runner):
    """Every new secret is in a file of its own that only the owner may read."""
    first, second, _ = three(runner)
    done = runner.run(
        "keys", "rotate", "--client", "acme-web", "--secrets-to", "out", "--yes", "--json"
    )
    assert set(done.document["rotated"]) == {first, second}
    files = sorted(path.name for path in (runner.directory / "out").iterdir())
    assert files == sorted([f"{first}.key", f"{second}.key"])
    path = runner.directory / "out" / f"{first}.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    verified = runner.run("keys", "verify", "--json", stdin=path.read_text())
    assert (verified.code, verified.document["kid"]) == (0, first)
    # A second rotation within the overlap is refused, and the working secret stays in its file.
    before = path.read_text()
    again = runner.run("keys", "rotate", "--client", "acme-web", "--secrets-to", "out", "--yes")
    assert (again.code, path.read_text()) == (1, before)
    assert "retire" in again.err
    assert sorted(path.name for path in (runner.directory / "out").iterdir()) == files


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("disable",), "KID"),
        (("disable", KID, "--client", "a"), "not both"),
        (("update", "--name", "a"), "KID"),
        (("update", "--where", "colour=red", "--name", "a"), "--where"),
        (("update", "--where", "plan", "--name", "a"), "--where"),
        (("update", "--where", "status=dead", "--name", "a"), "--status"),
        (("update", "--where", "name=a", "--client", "b", "--plan", "c"), "--where client=ID"),
        (("revoke", "--unused-for", "long", "--yes"), "--unused-for"),
        (("revoke", "--unused-for", "90d", "--yes"), "authz meter"),
        (("revoke", "--name", ""), "--name"),
        (("revoke", "--created-before", "soon", "--yes"), "--created-before"),
        (("rotate", "--client", "a", "--yes"), "--secrets-to"),
        (("rotate", "--client", "a", "--out", "f"), "--out"),
        (("rotate", KID, "--secrets-to", "d"), "--secrets-to"),
        (("retire", KID, "--secret", "oldest"), "--secret"),
    ],
)
def test_wrong_usage(runner, arguments, named):
    """A mistake is one line with the option, before anything is read or changed."""
    assert named in refusal(runner.run("keys", *arguments))


def test_the_question_has_the_number(runner):
    """Without a yes nothing is changed."""
    first, *_ = three(runner)
    done = on_a_terminal("keys", "disable", "--client", "acme-web", typed="n\n", after="[y/N]: ")
    assert "disable 2 keys of client acme-web?" in done.out
    assert (done.code, runner.status(first)) == (1, "active")


def test_one_secret_of_an_overlap_ends(runner):
    """retire ends the leaked half of a rotation, and the other half works."""
    kid, old = runner.issue()
    new = runner.run("keys", "rotate", kid, "--json").document["key"]
    refused = refusal(runner.run("keys", "rotate", kid), code=1)
    assert f"`authz keys retire {kid} --secret old` ends 1" in refused
    done = runner.run("keys", "retire", kid, "--secret", "old", "--note", "leaked")
    assert (done.code, done.out) == (0, f"of {kid} the secret 2 works, and no other\n")
    assert runner.run("keys", "verify", stdin=old).code == 1
    assert runner.run("keys", "verify", stdin=new).code == 0
    assert "retire" in runner.run("keys", "history", kid).out
    assert "one live secret" in refusal(
        runner.run("keys", "retire", kid, "--secret", "new"), code=1
    )
    assert runner.run("keys", "retire", kid, "--secret", "1").code == 0
    assert "no secret 7" in refusal(runner.run("keys", "retire", kid, "--secret", "7"), code=1)


def test_rotate_without_overlap_names_the_ended_secrets(runner):
    """--grace 0 in an overlap says which secrets it ended."""
    kid, _ = runner.issue()
    runner.run("keys", "rotate", kid)
    done = runner.run("keys", "rotate", kid, "--grace", "0")
    assert "the old secrets 1 and 2 work no more" in done.err


def test_the_overlap_ends_with_the_key(runner):
    """The old secret of a key of one hour works for one hour at most."""
    kid, _ = runner.issue("--expires-in", "1h")
    runner.run("keys", "rotate", kid)
    record = runner.run("keys", "show", kid, "--json").document
    assert record["secrets"][0]["retires_at"] == record["expires_at"]
