"""`authz audit` on a store with several partitions."""

import json

import pytest

from authz.core.partitions import Partitions
from authz.storage.schema import Names
from tests.support.cli.in_process import CommandRunner, refusal

COUNT = 8
PARTITIONS = Partitions(COUNT)
EIGHT = [Names(partition=partition, partitions=COUNT) for partition in range(COUNT)]


@pytest.fixture
def runner(tmp_path, valkey, monkeypatch):
    """A directory with a pepper, and an initialised store of eight partitions."""
    return CommandRunner(tmp_path, valkey, monkeypatch, partitions=COUNT)


@pytest.fixture
def kids(runner) -> list[str]:
    """One key in each partition, in their order; each was disabled, the last one first."""
    clients = {PARTITIONS.home(f"c{number}"): f"c{number}" for number in range(60)}
    found = [runner.issue(client=clients[at])[0] for at in range(COUNT)]
    for kid in reversed(found):
        assert runner.run("keys", "disable", kid).code == 0
    return found


def verified(runner, *options: str):
    """Return the document of a verification."""
    return runner.run("audit", "verify", "--json", *options).document


def test_list(runner, kids):
    """Events of all partitions come newest first, and an id names the partition."""
    found = runner.run("audit", "list", "--json").document
    rows = [(one["action"], one["kid"]) for one in found["events"]]
    assert rows[:COUNT] == [("disable", kid) for kid in kids]
    assert rows[COUNT:] == [("issue", kid) for kid in reversed(kids)]
    assert found["events"][0]["id"] == "0.2-0"
    assert found["more"] is False
    few = runner.run("audit", "list", "--limit", "3", "--json").document
    assert few["events"] == found["events"][:3]
    assert few["more"] is True
    own = runner.run("audit", "list", "--kid", kids[5], "--json").document["events"]
    assert [(one["id"], one["action"]) for one in own] == [("5.2-0", "disable"), ("5.1-0", "issue")]


def test_seal_and_verify(runner, kids):
    """Each trail is sealed, and the report has the sums."""
    assert runner.run("audit", "seal", "--json").document["rows"] == 2 * COUNT
    report = verified(runner)
    assert report["intact"] is True
    assert (report["rows"], report["checkpoints"]) == (3 * COUNT, COUNT)
    assert "\nall partitions are sealed, since 20" in runner.run("audit", "verify").out
    assert runner.run("audit", "seal").out == "every row is sealed already\n"
    assert "is for one partition" in refusal(runner.run("audit", "verify", "--trimmed-before", "3"))


def test_a_row_that_was_removed_is_found_in_its_partition(runner, kids):
    """The finding names the partition."""
    runner.run("audit", "seal")
    runner.valkey.admin.xdel(EIGHT[4].audit, "2-0")
    report = verified(runner)
    assert report["intact"] is False
    assert {one["at"].partition(".")[0] for one in report["findings"]} == {"4"}


def test_the_trail_of_another_partition_is_found(runner, kids):
    """A trail that is put in place of another one is whole, but is about other keys."""
    admin = runner.valkey.admin
    for name in ("audit", "seq"):
        admin.copy(getattr(EIGHT[2], name), getattr(EIGHT[6], name), replace=True)
    report = verified(runner)
    assert [(one["problem"], one["at"]) for one in report["findings"]] == [
        ("misplaced", "6.1-0"),
        ("misplaced", "6.2-0"),
    ]


def test_a_copy_is_verified_and_compared(runner, kids, tmp_path):
    """A copy has the rows of all partitions; a second run delivers only new ones."""
    copy = tmp_path / "audit.jsonl"
    ship = ("audit", "ship", "--to", f"file:{copy}", "--json")
    runner.run("audit", "seal")
    assert runner.run(*ship).document["rows"] == 3 * COUNT
    assert runner.run(*ship).document["rows"] == 0
    runner.run("keys", "enable", kids[3])
    assert runner.run(*ship).document["rows"] == 1
    assert verified(runner, "--file", str(copy))["intact"] is True
    assert verified(runner, "--copy", str(copy))["intact"] is True
    last = json.loads(copy.read_text().splitlines()[-1])
    assert last["id"].startswith("3.")
    lines = copy.read_text().splitlines(keepends=True)
    copy.write_text("".join(one for one in lines if json.loads(one)["id"] != "5.1-0"))
    found = verified(runner, "--file", str(copy))["findings"]
    assert {one["at"].partition(".")[0] for one in found} == {"5"}
    row = lines[0].replace('"0.1-0"', '"1-0"')
    copy.write_text(row)
    assert "is no row of an audit trail" in refusal(
        runner.run("audit", "verify", "--file", str(copy))
    )
