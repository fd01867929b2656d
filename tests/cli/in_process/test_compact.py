"""`authz compact`: its report, records that it refuses, and sidecars of an earlier version."""

import json

import pytest

from tests.support.cli.in_process import refusal
from tests.support.storage import stored


@pytest.fixture
def kids(runner):
    """Return the kids of two keys whose records are hashes, as an earlier version writes them."""
    runner.valkey.admin.hdel(stored.META, "compact")
    return [runner.issue()[0] for _ in range(2)]


def test_there_and_back(runner, kids):
    """The command reports what it wrote, a second run writes nothing, and --undo goes back."""
    rehearsed = runner.run("compact", "--dry-run", "--json").document
    assert (rehearsed["looked_at"], rehearsed["written"], rehearsed["dry_run"]) == (2, 2, True)
    assert rehearsed["indexed"] == 2
    assert runner.valkey.admin.type(stored.key(kids[0])) == "hash"
    done = runner.run("compact")
    assert done.out == (
        "2 records looked at, 2 written in the compact form\n"
        "2 ids in the index of all keys written short\n"
    )
    assert (done.code, done.err) == (0, "")
    assert runner.valkey.admin.type(stored.key(kids[0])) == "string"
    assert runner.run("compact", "--json").document["written"] == 0
    assert runner.run("keys", "revoke", kids[0]).code == 0
    assert runner.status(kids[0]) == "revoked"
    assert "2 keys; all of a sample of 2 can be read" in runner.run("doctor").out
    back = runner.run("compact", "--undo")
    assert back.out == (
        "2 records looked at, 2 written as a hash\n2 ids in the index of all keys written whole\n"
    )
    assert runner.valkey.admin.hget(stored.key(kids[0]), "status") == "revoked"


def test_a_damaged_record(runner, kids):
    """A damaged record is named, with exit code 1, and stays as it is."""
    runner.valkey.admin.hset(stored.key(kids[0]), "created_at", "nonsense")
    done = runner.run("compact")
    assert done.code == 1
    assert f"stays as it is: record {kids[0]}: " in done.out
    document = runner.run("compact", "--json").document
    assert [one["kid"] for one in document["refused"]] == [kids[0]]
    assert document["refusals"] == 1


def test_a_sidecar_of_an_earlier_version(runner, kids):
    """While one is registered nothing is written, unless --force says so."""
    entry = {
        "instance": "old:1",
        "version": "0",
        "address": "old:1",
        "reason": "",
        "started_at": 0,
        "applied": 2,
        "lease_ms": 1000,
        "grace_ms": 30_000,
        "entries": 0,
        "trusted": True,
    }
    runner.valkey.admin.hdel(stored.META, "sealed")
    runner.valkey.admin.zadd(stored.SIDECARS, {"old:1": 1})
    runner.valkey.admin.set(stored.sidecar("old:1"), json.dumps(entry), px=90_000_000)
    said = refusal(runner.run("compact"), 1)
    assert "1 sidecars do not read compact records, such as old:1; update them first" in said
    assert runner.valkey.admin.type(stored.key(kids[0])) == "hash"
    assert "--force" in refusal(runner.run("compact", "--undo", "--force"))
    assert runner.run("compact", "--force").code == 0
    assert runner.valkey.admin.type(stored.key(kids[0])) == "string"
