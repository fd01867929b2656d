"""Attacks of a writer of the store without the pepper on `authz apply`, and its way out."""

import json

import pytest

from authz.storage.schema import DEFAULT
from tests.support.cli.in_process import refusal
from tests.support.storage import stored

APPLIED = DEFAULT.applied
FILE = """\
authz: 1
as_of: 0
keys:
  - ref: acme-web.shop
    client: acme-web
    scopes: [models:generate]
"""


@pytest.fixture
def declared(runner):
    """The kid of a key that a file declared by its ref alone."""
    (runner.directory / "keys.yaml").write_text(FILE)
    done = apply(runner, "--secrets-to", "secrets", "--json")
    assert done.code == 0
    return done.document["issued"]["acme-web.shop"]


def apply(runner, *options):
    """Apply keys.yaml, which stays as it is."""
    return runner.run("apply", "-f", "keys.yaml", "--no-write", *options)


def entry(runner, kid):
    """Return what a file last declared for a key, as the store has it."""
    return json.loads(runner.valkey.admin.hget(APPLIED, kid))


def put(runner, kid, members):
    """Write an entry without the pepper."""
    runner.valkey.admin.hset(APPLIED, kid, json.dumps(members))


def record_fields(runner, kid, like):
    """Return the fields of a key as an entry has them, so that no field seems to have changed."""
    shown = runner.run("keys", "show", kid, "--json").document
    return like | {"client_id": shown["client_id"], "scopes": [], "expires_at": None}


@pytest.mark.parametrize("takes_seal", [False, True])
def test_a_stranger_takes_the_ref_of_a_declared_key(runner, declared, takes_seal):
    """Its key gets neither the client nor the scopes of that key, and the cause is one line."""
    own, _ = runner.issue("--expires-in", "never", client="mallory")
    was = entry(runner, declared)
    fields = record_fields(runner, own, was["fields"])
    forged = {"version": 1, "ref": "acme-web.shop", "fields": fields}
    if takes_seal:
        forged["seal"] = was.get("seal", "")
    runner.valkey.admin.hdel(APPLIED, declared)
    put(runner, own, forged)
    before = runner.valkey.admin.hgetall(stored.key(own))
    for command in ("apply", "diff"):
        done = runner.run(command, "-f", "keys.yaml")
        line = refusal(done, 3)
        assert own in line
        assert f"HDEL {APPLIED} {own}" in line
    assert "its seal is wrong" in line if takes_seal else "it has no seal" in line
    assert runner.valkey.admin.hgetall(stored.key(own)) == before
    assert "HDEL" in refusal(runner.run("keys", "export"), 3)
    # The way out: without the entry, and with the kid of the declared key.
    runner.valkey.admin.hdel(APPLIED, own)
    path = runner.directory / "keys.yaml"
    path.write_text(FILE.replace("- ref", f"- kid: {declared}\n    ref"))
    assert apply(runner, "--json").document["changed"] == []
    path.write_text(FILE)
    assert apply(runner, "--json").document["issued"] == {}


def test_a_forged_base(runner, declared):
    """An altered base does not let a file undo what was changed by hand."""
    runner.run("keys", "disable", declared)
    was = entry(runner, declared)
    put(runner, declared, was | {"fields": was["fields"] | {"status": "disabled"}})
    assert "its seal is wrong" in refusal(apply(runner), 3)
    assert runner.status(declared) == "disabled"
    put(runner, declared, was)
    assert apply(runner).code == 0
    assert runner.status(declared) == "disabled"


def test_a_wrong_seal_in_a_store_without_the_mark(runner, declared):
    """A wrong seal is always refused; without a seal the entry is good until `authz reseal`."""
    runner.valkey.admin.hdel(stored.META, "sealed")
    was = entry(runner, declared)
    put(runner, declared, was | {"ref": "other"})
    assert "its seal is wrong" in refusal(apply(runner), 3)
    unsealed = {name: value for name, value in was.items() if name != "seal"}
    put(runner, declared, unsealed)
    assert apply(runner).code == 0
    assert entry(runner, declared) == unsealed
    done = runner.run("reseal")
    assert "1 applied entries looked at, 1 sealed\n" in done.out
    assert entry(runner, declared) == was
    assert apply(runner).code == 0
    put(runner, declared, unsealed)
    assert "it has no seal" in refusal(apply(runner), 3)
    again = runner.run("reseal")
    assert again.code == 1
    assert f"refused: the applied entry of {declared}: it has no seal" in again.out
    (named,) = runner.run("reseal", "--dry-run", "--json").document["refused_applied"]
    assert named["kid"] == declared


def test_settings_that_require_seals(runner, declared, monkeypatch):
    """With keys.require_seals the mark is not needed."""
    runner.valkey.admin.hdel(stored.META, "sealed")
    was = entry(runner, declared)
    put(runner, declared, {name: value for name, value in was.items() if name != "seal"})
    monkeypatch.setenv("AUTHZ_KEYS__REQUIRE_SEALS", "true")
    assert "it has no seal" in refusal(apply(runner), 3)


def test_a_field_that_is_no_kid(runner, declared):
    """A line of advice has no text of a stranger in it."""
    put(runner, "x; FLUSHALL", entry(runner, declared))
    assert "FLUSHALL" not in refusal(apply(runner), 3)
