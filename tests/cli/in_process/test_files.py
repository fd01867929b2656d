"""`authz keys export`, `authz diff` and `authz apply`."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.cli.in_process import AUTHZ, refusal

NEW_KEY = """\
authz: 1
as_of: 0
keys:
  - ref: acme-web.shop   # made for the shop
    client: acme-web
    name: shop
    limits: [10/s]
"""


def export(runner, *options) -> str:
    """Write an export to keys.yaml and return it."""
    done = runner.run("keys", "export", *options)
    assert (done.code, done.err) == (0, "")
    (runner.directory / "keys.yaml").write_text(done.out)
    return done.out


def edit(runner, before, after):
    """Replace a text in keys.yaml."""
    path = runner.directory / "keys.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def apply(runner, *options):
    """Apply keys.yaml."""
    return runner.run("apply", "-f", "keys.yaml", *options)


def shown(runner, kid):
    """Return the record of a key as a document."""
    return runner.run("keys", "show", kid, "--json").document


def three(runner):
    """Issue three keys with many fields."""
    first, text = runner.issue(
        "--name", "shop: #1", "--scope", "b:c", "--scope", "a:b", "--metadata", "on=yes",
        "--cidr", "10.0.0.0/8", "--limit", "10/s", "--outage-grace", "5s", "--not-before", "1h",
        "--host", "api.example.com", "--origin", "https://app.example.com",
    )  # fmt: skip
    second, _ = runner.issue("--expires-in", "never")
    third, _ = runner.issue(client="batch")
    return (first, second, third), text


def test_an_export_applied_changes_nothing(runner):
    """apply, export, apply again: no change. An export has no secret, and a stable order."""
    kids, text = three(runner)
    runner.run("keys", "disable", kids[2])
    first = export(runner)
    assert text.rpartition("_")[2] not in first
    assert export(runner) == first
    assert runner.run("diff", "-f", "keys.yaml").out == "no changes\n"
    done = apply(runner)
    assert (done.code, done.out) == (
        0,
        "0 issued, 0 changed, 0 revoked, 3 unchanged, 0 failed\n",
    )
    assert export(runner) == first


def test_a_difference_has_times_and_durations_as_the_file_has_them(runner):
    """Text and JSON of diff and of a dry run have RFC 3339 and units, and no milliseconds."""
    kid, _ = runner.issue("--expires-at", "2999-01-01T00:00:00Z")
    export(runner)
    edit(runner, "expires_at: '2999-", "outage_grace: 10s\n  expires_at: '2998-")
    runner.run("keys", "update", kid, "--name", "by hand")
    then, sooner = "2999-01-01T00:00:00.000Z", "2998-01-01T00:00:00.000Z"
    compared = runner.run("diff", "-f", "keys.yaml").out
    assert f"~ {kid}  expires_at {then} -> {sooner}\n" in compared
    assert f"~ {kid}  outage_grace (none) -> 10s\n" in compared
    (changed,) = runner.run("diff", "-f", "keys.yaml", "--json").document["changed"]
    assert changed["changes"] == {
        "expires_at": {"old": then, "new": sooner},
        "outage_grace": {"old": None, "new": "10s"},
    }
    command = ("keys", "update", "--client", "acme-web", "--expires-at", sooner, "--dry-run")
    assert f"{kid}  expires_at {then} -> {sooner}\n" in runner.run(*command).out
    (would,) = runner.run(*command, "--json").document["would_change"]
    assert would["changes"] == {"expires_at": {"old": then, "new": sooner}}


def test_an_edit_is_applied_and_a_change_of_the_store_stays(runner):
    """A field that was edited is set. A field that a command changed since stays, and is told."""
    (kid, *_), _ = three(runner)
    export(runner)
    edit(runner, "limits: [10/s]", "limits: [20/s]")
    runner.run("keys", "update", kid, "--name", "by hand")
    compared = runner.run("diff", "-f", "keys.yaml")
    assert compared.code == 1
    assert f"~ {kid}  limits 10/s -> 20/s" in compared.out
    assert f"= {kid}  name by hand was set in the store and stays" in compared.out
    done = apply(runner)
    assert (done.code, done.err) == (0, f"= {kid}  name by hand was set in the store and stays\n")
    record = shown(runner, kid)
    assert (record["limits"][0]["limit"], record["name"]) == (20, "by hand")
    assert runner.run("diff", "-f", "keys.yaml").code == 0
    assert "name: 'by hand'" in (runner.directory / "keys.yaml").read_text()
    edit(runner, "[20/s]", "[30/s]")
    assert apply(runner).code == 0
    assert shown(runner, kid)["limits"][0]["limit"] == 30
    assert shown(runner, kid)["name"] == "by hand"


def test_a_conflict_changes_nothing(runner):
    """If file and store changed the same field, nothing is applied unless the file may win."""
    (kid, other, _), _ = three(runner)
    export(runner)
    edit(runner, "shop: #1", "from git")
    edit(runner, f"kid: {other}", f"kid: {other}\n  name: new")
    runner.run("keys", "update", kid, "--name", "by hand")
    done = apply(runner)
    assert (done.code, done.out) == (1, "")
    assert "name: the file has 'from git', the store 'by hand'" in done.err
    assert "nothing was applied" in done.err
    assert shown(runner, other)["name"] == ""
    assert runner.run("diff", "-f", "keys.yaml").code == 1
    assert apply(runner, "--overwrite").code == 0
    assert (shown(runner, kid)["name"], shown(runner, other)["name"]) == ("from git", "new")


def test_a_new_key(runner):
    """A new key gets its secret in a file, and its kid in the file of keys. Comments stay."""
    path = runner.directory / "keys.yaml"
    path.write_text(NEW_KEY)
    assert "--secrets-to" in refusal(apply(runner))
    assert runner.run("diff", "-f", "keys.yaml").out.startswith("+ acme-web.shop  client acme-web")
    assert apply(runner, "--dry-run").code == 0
    document = apply(runner, "--secrets-to", "secrets", "--json").document
    kid = document["issued"]["acme-web.shop"]
    secret = runner.directory / "secrets" / f"{kid}.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert runner.run("keys", "verify", stdin=secret.read_text()).code == 0
    text = path.read_text()
    assert f"kid: {kid}" in text
    assert "# made for the shop" in text
    assert apply(runner).out == "0 issued, 0 changed, 0 revoked, 1 unchanged, 0 failed\n"
    path.write_text(NEW_KEY)  # as another checkout has it
    again = apply(runner, "--no-write", "--json").document
    assert (again["issued"], path.read_text()) == ({}, NEW_KEY)
    assert "ref: acme-web.shop" in export(runner)


def test_a_new_key_for_kubernetes(runner, monkeypatch):
    """The secret goes to kubectl by stdin; a failure of kubectl makes no key."""
    (runner.directory / "keys.yaml").write_text(NEW_KEY)
    tool = runner.directory / "kubectl"
    tool.write_text(f'#!/bin/sh\necho "$@" > {tool}.args\ncat > {tool}.in\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{runner.directory}:{os.environ['PATH']}")
    done = apply(runner, "--secrets-to", "k8s-secret:shop", "--json")
    assert done.code == 0
    kid = done.document["issued"]["acme-web.shop"]
    assert Path(f"{tool}.args").read_text() == "--namespace shop create -f -\n"
    manifest = Path(f"{tool}.in").read_text()
    assert f"authz-{kid.encode().hex()}" in manifest
    tool.write_text("#!/bin/sh\necho 'forbidden' >&2\nexit 1\n")
    (runner.directory / "keys.yaml").write_text(NEW_KEY.replace("acme-web.shop", "other"))
    failed = apply(runner, "--secrets-to", "k8s-secret")
    assert (failed.code, "forbidden" in failed.err) == (3, True)
    assert len(runner.run("keys", "list", "--json").document["keys"]) == 1


def test_prune(runner):
    """Keys that the file no longer declares are revoked; more than 10 % of them ask again."""
    kids = [runner.issue(client=f"c{number:02}")[0] for number in range(12)]
    export(runner)
    text = (runner.directory / "keys.yaml").read_text()
    head, *entries = text.split("\n- ")
    (runner.directory / "keys.yaml").write_text("\n- ".join([head, *entries[1:]]) + "\n")
    late, _ = runner.issue(client="late")
    assert "issued or changed after" in apply(runner, "--prune", "--yes").err
    runner.run("keys", "revoke", late)
    assert "--yes" in refusal(apply(runner, "--prune"))
    done = apply(runner, "--prune", "--yes")
    assert done.out == "0 issued, 0 changed, 1 revoked, 11 unchanged, 0 failed\n"
    assert runner.status(kids[0]) == "revoked"
    (runner.directory / "keys.yaml").write_text("\n- ".join([head, *entries[8:]]) + "\n")
    export_of_now = export(runner)
    head, *entries = export_of_now.split("\n- ")
    (runner.directory / "keys.yaml").write_text("\n- ".join([head, *entries[6:]]) + "\n")
    assert "--prune-many" in refusal(apply(runner, "--prune", "--yes"))
    assert runner.status(kids[1]) == "active"
    assert apply(runner, "--prune", "--yes", "--prune-many").code == 0
    assert runner.status(kids[1]) == "revoked"


def test_the_scope_of_a_file_bounds_what_it_prunes(runner):
    """An export of one client says so, and an apply of it never ends another client's keys."""
    kid, _ = runner.issue()
    other, _ = runner.issue(client="batch")
    assert "scope:\n  client: acme-web\n" in export(runner, "--client", "acme-web")
    (runner.directory / "keys.yaml").write_text(
        "authz: 1\nscope: {client: acme-web}\nas_of: 99\nkeys: []\n"
    )
    assert apply(runner, "--prune", "--yes", "--prune-many").code == 0
    assert (runner.status(kid), runner.status(other)) == ("revoked", "active")


def test_revoked_keys_are_left_out(runner):
    """An export has no revoked keys unless they are asked for."""
    kid, _ = runner.issue()
    runner.run("keys", "revoke", kid)
    assert kid not in export(runner)
    assert kid in export(runner, "--status", "revoked")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("keys: [", "line"),
        ("- a", "keys"),
        ("keys: []\ncolour: red", "colour"),
        ("keys: [{? [a] : b}]", "line 1: a name is text"),
        ("authz: 2\nkeys: []", "format"),
        ("keys: [text]", "key 1"),
        ("keys: [{client: a}]", "ref"),
        ("keys: [{ref: a, client: 'a b'}]", "client"),
        ("keys: [{ref: a, client: a, colour: red}]", "colour"),
        ("keys: [{ref: a, client: a, plan: gold}]", "plan"),
        ("keys: [{ref: a, client: a, limits: 10/s}]", "limits"),
        ("keys: [{ref: a, client: a, metadata: {a: yes}}]", "quotes"),
        ("keys: [{ref: a, client: a, expires_at: soon}]", "expires_at"),
        ("keys: [{ref: a, client: a, client: b}]", "twice"),
        ("keys: [{ref: a, client: a}, {ref: a, client: a}]", "twice"),
        ("keys: [{ref: a, client: a, version: x}]", "version"),
        ("keys: []\nscope: {plan: a}", "scope"),
        ("keys: [{kid: short, client: a}]", "kid"),
        ("keys: [{kid: 5, client: a}]", "key 1: kid: '5' is no text"),
        ("keys: []\nscope: {client: 5}", "scope: client: '5' is no text"),
        ("keys: []\nscope: {env: [live]}", "scope: env"),
    ],
)
def test_a_bad_file(runner, content, named):
    """Each mistake is one line with the file, the key and the field; nothing is applied."""
    (runner.directory / "keys.yaml").write_text(content)
    line = refusal(apply(runner))
    assert "keys.yaml" in line
    assert named in line


def test_mistakes_in_several_keys(runner):
    """One run names the first mistake of each key, by its number and field."""
    keys = "[{client: a}, {ref: a, client: 5}, {ref: b, client: b}, {ref: b, client: b}, 7]"
    (runner.directory / "keys.yaml").write_text(f"keys: {keys}")
    done = apply(runner)
    named = ["key 1: ref", "key 2 ('a'): client", "key 5: is not", "ref b is there twice"]
    assert (done.code, len(done.err.splitlines())) == (2, len(named))
    for line, text in zip(done.err.splitlines(), named, strict=True):
        assert text in line


def test_a_time_without_quotes(runner):
    """YAML reads a time without quotes; it is taken as UTC."""
    (runner.directory / "keys.yaml").write_text(
        "keys: [{ref: a, client: a, expires_at: 2099-01-02T03:04:05Z}]\n"
    )
    document = apply(runner, "--secrets-to", "s", "--json").document
    assert shown(runner, document["issued"]["a"])["expires_at"] == "2099-01-02T03:04:05.000Z"


@pytest.mark.parametrize(
    ("command", "stdin"),
    [
        ("apply -f keys.yaml", ""),
        ("diff -f keys.yaml", ""),
        ("doctor --envoy keys.yaml", ""),
        ("keys import --format kong", "consumers: " + "[" * 30_000),
    ],
)
def test_nested_values_are_refused(runner, command, stdin):
    """A process of its own: the stack of the parser would overflow and end it by a signal."""
    (runner.directory / "keys.yaml").write_text("authz: 1\nkeys: " + "[" * 30_000)
    done = subprocess.run(
        [*AUTHZ, *command.split()], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode in {1, 2}
    assert re.search("nested more than 100 deep|[Nn]ot YAML", done.stdout + done.stderr)
