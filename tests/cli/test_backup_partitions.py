"""`authz backup` and `authz restore` of a store with several partitions."""

import json
from pathlib import Path

import pytest

from authz.core.errors import Unavailable
from authz.core.partitions import Partitions
from authz.storage.restore import Restore
from authz.storage.schema import DEFAULT, Names
from tests.support.cli.terminal import run
from tests.support.real import Valkey

FILE = "authz.backup"
COUNT = 8
EIGHT = [Names(partition=partition, partitions=COUNT) for partition in range(COUNT)]


@pytest.fixture
def divided(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of commands with an initialised store of eight partitions."""
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    assert run("init").code == 0
    return empty_store


def issue_all() -> dict[str, str]:
    """Issue a key in each partition; return the texts by kid."""
    found: dict[str, str] = {}
    homes = {Partitions(COUNT).home(f"c{number}"): f"c{number}" for number in range(60)}
    for client in homes.values():
        document = run("keys", "issue", "--client", client, "--json").document
        found[document["kid"]] = document["key"]
    assert len(found) == COUNT
    return found


def shown(kids: list[str]) -> list[dict[str, object]]:
    """Return the histories of these keys."""
    return [run("keys", "history", kid, "--json").document for kid in kids]


def test_there_and_back(divided: Path, valkey: Valkey) -> None:
    """Each key comes back in its partition with its history, and its secret verifies."""
    keys = issue_all()
    kids = sorted(keys)
    revoked = kids[0]
    assert run("keys", "revoke", revoked).code == 0
    before = shown(kids)
    made = run("backup", FILE, "--json").document
    assert (made["records"], made["audit"], made["seq"]) == (8, 9, 2)

    valkey.admin.flushall()
    assert run("keys", "show", kids[0]).code == 3
    done = run("restore", FILE, "--json")
    assert (done.code, done.document["lost_changes"]) == (0, 0)
    assert done.document["seq"] == 3
    assert shown(kids) == before
    assert valkey.admin.hgetall(DEFAULT.meta) == {"schema": "1", "partitions": "8", "complete": "1"}
    assert all(valkey.admin.hget(names.meta, "partition") for names in EIGHT)
    for kid, text in keys.items():
        outcome = run("keys", "verify", stdin=text.encode())
        assert outcome.code == (1 if kid == revoked else 0), outcome.out + outcome.err
    again = run("restore", FILE)
    assert "it was restored here before" in again.error


def test_an_interrupted_restore_goes_on(
    divided: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run leaves the finished partitions as they are and completes the others."""
    kids = sorted(issue_all())
    before = shown(kids)
    assert run("backup", FILE).code == 0
    valkey.admin.flushall()
    whole, begun = Restore.run, []

    async def failing(self: Restore, *about: object) -> int:
        begun.append(self)
        if len(begun) == 4:
            raise Unavailable("the store cannot be used: gone")
        return await whole(self, *about)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Restore, "run", failing)
        assert run("restore", FILE).code == 3
    assert [valkey.admin.exists(names.meta) for names in EIGHT] == [1] * 3 + [0] * 5
    assert run("init").code != 0
    late = next(kid for kid in kids if Partitions(COUNT).of(kid) == 1)
    done = run("restore", FILE, "--json")
    assert done.code == 0, done.err
    assert shown(kids) == before
    assert run("keys", "show", late, "--json").document["version"] == 1


def test_a_backup_of_another_number_of_partitions(
    divided: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore refuses it with both numbers, and writes nothing."""
    assert run("backup", FILE).code == 0
    valkey.admin.flushall()
    for count in (1, 48):
        monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(count))
        error = run("restore", FILE).error
        assert f"the backup is of 8 partitions, redis.partitions is {count}" in error
        assert valkey.admin.dbsize() == 0


@pytest.mark.parametrize("damage", ["lacks a partition", "lacks its end", "is in another order"])
def test_a_file_that_lacks_lines(divided: Path, valkey: Valkey, damage: str) -> None:
    """A line that is missing or moved is found before anything is written."""
    issue_all()
    assert run("backup", FILE).code == 0
    lines = Path(FILE).read_bytes().splitlines(keepends=True)
    found = [json.loads(line.rpartition(b"\t")[0]).get("partition") for line in lines]
    kept = {
        "lacks a partition": [line for line, at in zip(lines, found, strict=True) if at != 3],
        "lacks its end": lines[:-1],
        "is in another order": [lines[0], *lines[1:-1][::-1], lines[-1]],
    }[damage]
    Path(FILE).write_bytes(b"".join(kept))
    valkey.admin.flushall()
    assert run("restore", FILE).code == 1
    assert valkey.admin.dbsize() == 0


def test_later_deletions_stay_deleted(divided: Path, valkey: Valkey) -> None:
    """A key that a later backup knows as deleted is left out, in its partition."""
    kids = sorted(issue_all())
    assert run("backup", FILE).code == 0
    assert run("keys", "delete", kids[2], "--force").code == 0
    assert run("backup", "later.backup").code == 0
    valkey.admin.flushall()
    assert run("restore", FILE, "--deletions", "later.backup").code == 0
    assert run("keys", "show", kids[2]).code == 1
    listed = run("keys", "list", "--json").document["keys"]
    assert {key["kid"] for key in listed} == set(kids) - {kids[2]}
