"""`authz restore` of the backup of a store with one partition, into one with several."""

import json
from pathlib import Path
from typing import Any

import pytest

from authz.core.errors import Unavailable
from authz.core.partitions import Partitions
from authz.storage.restore import Restore
from authz.storage.schema import DEFAULT, Names
from tests.support.cli.terminal import run
from tests.support.real import Valkey

FILE = "authz.backup"
COUNT = 8
PARTITIONS = Partitions(COUNT)
EIGHT = [Names(partition=partition, partitions=COUNT) for partition in range(COUNT)]
IMPORTED = "sk-old-0123456789abcdefghij"


@pytest.fixture
def store(empty_store: Path) -> Path:
    """The working directory of commands with an initialised store of one partition."""
    assert run("init").code == 0
    return empty_store


def issue(*options: str) -> dict[str, Any]:
    """Issue a key and return its document."""
    document: dict[str, Any] = run("keys", "issue", *options, "--json").document
    return document


def home(document: dict[str, Any]) -> int:
    """Return the home of a key that was shown."""
    owners = (document[name] or "" for name in ("client_id", "project_id", "tenant_id"))
    return PARTITIONS.home(*owners)


def shown(kid: str) -> dict[str, Any]:
    """Return a key as it is shown."""
    found = run("keys", "show", kid, "--json")
    assert found.code == 0, found.err
    document: dict[str, Any] = found.document
    return document


def divide(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back up the store with one partition, and restore it into one with eight."""
    assert run("backup", FILE).code == 0
    valkey.admin.flushall()
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    done = run("restore", FILE)
    assert done.code == 0, done.err


def test_every_key_comes_back_in_its_home(
    store: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records, histories and imports come back, and every kid is found."""
    made = [issue("--client", f"c{number}") for number in range(12)]
    made += [issue("--client", "c", "--tenant", f"t{number}") for number in range(12)]
    line = json.dumps({"key": IMPORTED, "client": "old"}).encode() + b"\n"
    brought = run("keys", "import", stdin=line)
    assert brought.code == 0, brought.err
    imported = run("keys", "list", "--client", "old", "--json").document["keys"][0]["kid"]
    revoked, deleted = made[0]["kid"], made[1]["kid"]
    assert run("keys", "revoke", revoked).code == 0
    assert run("keys", "delete", deleted, "--force").code == 0
    kids = sorted({one["kid"] for one in made} - {deleted} | {imported})
    before = {kid: shown(kid) for kid in kids}
    histories = {kid: run("keys", "history", kid, "--json").document for kid in kids}
    listed = [key["kid"] for key in run("keys", "list", "--json").document["keys"]]

    divide(valkey, monkeypatch)
    assert {kid: shown(kid) for kid in kids} == before
    assert {kid: run("keys", "history", kid, "--json").document for kid in kids} == histories
    assert [key["kid"] for key in run("keys", "list", "--json").document["keys"]] == listed
    for kid in kids:
        at = home(before[kid])
        assert [valkey.admin.exists(names.key(kid)) for names in EIGHT] == [
            int(one == at) for one in range(COUNT)
        ]
    moved = sum(valkey.admin.hlen(names.moved) for names in EIGHT)
    assert moved == sum(PARTITIONS.of(kid) != home(before[kid]) for kid in kids) > 0
    for one in made:
        outcome = run("keys", "verify", stdin=one["key"].encode())
        assert outcome.code == (1 if one["kid"] in {revoked, deleted} else 0), outcome.err
    assert run("keys", "verify", stdin=IMPORTED.encode()).code == 0
    again = run("keys", "import", stdin=line)
    assert again.code == 0, again.err
    assert len(run("keys", "list", "--json").document["keys"]) == len(kids)
    assert run("keys", "show", deleted).code == 1
    assert run("audit", "verify").code == 0


def test_keys_are_managed_afterwards(
    store: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moved key can be changed, rotated, revoked and deleted; its history has both times."""
    made = [issue("--client", f"c{number}") for number in range(8)]
    divide(valkey, monkeypatch)
    kid = next(one["kid"] for one in made if PARTITIONS.of(one["kid"]) != home(shown(one["kid"])))
    assert run("keys", "update", kid, "--name", "new").code == 0
    rotated = run("keys", "rotate", kid, "--json")
    assert rotated.code == 0, rotated.err
    assert run("keys", "verify", stdin=rotated.document["key"].encode()).code == 0
    assert run("keys", "revoke", kid).code == 0
    history = run("keys", "history", kid, "--json").document
    assert [one["action"] for one in history["changes"]] == ["revoke", "rotate", "update", "issue"]
    listed = run("audit", "list", "--kid", kid, "--json").document["events"]
    assert [one["action"] for one in listed] == ["revoke", "rotate", "update", "issue"]
    assert run("keys", "delete", kid, "--force").code == 0
    assert run("keys", "show", kid).code == 1
    assert run("audit", "verify").code == 0
    fresh = issue("--client", "c1")
    assert PARTITIONS.of(fresh["kid"]) == PARTITIONS.home("c1")


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_second_backup_has_the_moved_keys(
    store: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, *, is_lost: bool
) -> None:
    """The backup of eight partitions brings back the places of moved keys.

    Also if a partition has lost its authz:meta.
    """
    kids = [issue("--client", f"c{number}")["kid"] for number in range(8)]
    divide(valkey, monkeypatch)
    before = [valkey.admin.hgetall(names.moved) for names in EIGHT]
    assert any(before)
    lost = next(names for names, found in zip(EIGHT, before, strict=True) if found)
    if is_lost:
        valkey.admin.delete(lost.meta)
    assert run("backup", "second.backup").code == int(is_lost)
    valkey.admin.flushall()
    assert run("restore", "second.backup").code == 0
    assert [valkey.admin.hgetall(names.moved) for names in EIGHT] == before
    assert {shown(kid)["kid"] for kid in kids} == set(kids)


def test_an_interrupted_division_goes_on(
    store: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody trusts a half-written store. A second run with the same file completes it."""
    kids = [issue("--client", f"c{number}")["kid"] for number in range(16)]
    assert run("backup", FILE).code == 0
    valkey.admin.flushall()
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    whole, completed = Restore.complete, []

    async def failing(self: Restore, highest: int) -> int:
        completed.append(self)
        if len(completed) == 4:
            raise Unavailable("the store cannot be used: gone")
        return await whole(self, highest)

    with monkeypatch.context() as patched:
        patched.setattr(Restore, "complete", failing)
        assert run("restore", FILE).code == 3
    assert [valkey.admin.exists(names.meta) for names in EIGHT] == [1] * 3 + [0] * 5
    assert run("init").code != 0
    done = run("restore", FILE)
    assert done.code == 0, done.err
    assert {shown(kid)["kid"] for kid in kids} == set(kids)
    assert valkey.admin.hgetall(DEFAULT.meta) == {"schema": "1", "partitions": "8", "complete": "1"}
    assert "the store is not empty" in run("restore", FILE).error


def test_later_deletions_stay_deleted(
    store: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that a later backup knows as deleted is left out, wherever it would lie."""
    kids = [issue("--client", f"c{number}")["kid"] for number in range(6)]
    assert run("backup", FILE).code == 0
    for kid in kids[:3]:
        assert run("keys", "delete", kid, "--force").code == 0
    assert run("backup", "later.backup").code == 0
    valkey.admin.flushall()
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    assert run("restore", FILE, "--deletions", "later.backup").code == 0
    assert [run("keys", "show", kid).code for kid in kids] == [1] * 3 + [0] * 3
    assert run("audit", "verify").code == 0


def test_applied_fields_come_back(
    store: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was applied before plans no change afterwards."""
    entries = [{"ref": f"r{n}", "client": f"c{n}", "env": "live"} for n in range(10)]
    Path("keys.yaml").write_text(json.dumps({"keys": entries}))
    done = run("apply", "-f", "keys.yaml", "--secrets-to", "new", "--yes", "--no-write")
    assert done.code == 0, done.err
    divide(valkey, monkeypatch)
    again = run("apply", "-f", "keys.yaml", "--dry-run")
    assert again.code == 0, again.err
    assert sum(valkey.admin.hlen(names.applied) for names in EIGHT) == 10
    assert len([names for names in EIGHT if valkey.admin.hlen(names.applied)]) > 1
