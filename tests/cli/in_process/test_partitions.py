"""Commands about keys on a store with several partitions."""

import pytest

from authz.core.partitions import Partitions
from authz.storage.schema import Names
from tests.support.cli.in_process import CommandRunner, refusal

COUNT = 8
PARTITIONS = Partitions(COUNT)


@pytest.fixture
def runner(tmp_path, valkey, monkeypatch):
    """A directory with a pepper, and an initialised store of eight partitions."""
    return CommandRunner(tmp_path, valkey, monkeypatch, partitions=COUNT)


def issue_many(runner) -> list[str]:
    """Issue a key for each of 20 clients; return the kids in order."""
    kids = [runner.issue(client=f"c{number}")[0] for number in range(20)]
    assert len({PARTITIONS.of(kid) for kid in kids}) > 4
    return kids


def test_one_key(runner):
    """A key is issued in its home, and every command about it finds it there."""
    kid, text = runner.issue("--tenant", "north", "--limit", "100/min")
    at = PARTITIONS.home("acme-web", "", "north")
    assert PARTITIONS.of(kid) == at
    names = Names(partition=at, partitions=COUNT)
    assert runner.valkey.admin.exists(names.key(kid)) == 1
    assert runner.run("keys", "show", kid, "--json").document["tenant_id"] == "north"
    assert runner.run("keys", "update", kid, "--name", "web").code == 0
    assert runner.run("keys", "limits", kid, "--json").code == 0
    assert runner.run("keys", "reset-limits", kid).code == 0
    rotated = runner.run("keys", "rotate", kid, "--json").document
    assert (rotated["kid"], rotated["key"] != text) == (kid, True)
    assert runner.run("keys", "retire", kid, "--secret", "old").code == 0
    assert runner.run("keys", "disable", kid, "--wait").code == 0
    assert runner.run("keys", "enable", kid).code == 0
    revoked = runner.run("keys", "revoke", kid, "--wait", "--json").document["confirmation"]
    assert (revoked["confirmed"], revoked["outstanding"]) == (0, [])
    actions = [
        entry["action"]
        for entry in runner.run("keys", "history", kid, "--json").document["changes"]
    ]
    assert actions == [
        *("revoke", "enable", "disable", "retire"),
        *("rotate", "reset_limits", "update", "issue"),
    ]
    assert runner.run("keys", "delete", kid).code == 0
    assert refusal(runner.run("keys", "show", kid), 1)


def test_a_key_that_would_move(runner):
    """A change to an owner of another partition is refused with the reason."""
    kid, _ = runner.issue()
    home = PARTITIONS.of(kid)
    tenants = (f"t{number}" for number in range(100))
    other = next(one for one in tenants if PARTITIONS.home("", "", one) != home)
    error = runner.run("keys", "update", kid, "--tenant", other).err
    assert "another partition of the store" in error
    assert runner.run("keys", "show", kid, "--json").document["tenant_id"] == ""


def test_lists_and_changes_of_many_keys(runner):
    """A list has the keys of all partitions in one order, and a selection changes all of them."""
    kids = issue_many(runner)
    listed, cursor = [], ""
    while cursor is not None:
        page = runner.run("keys", "list", "--limit", "3", "--cursor", cursor, "--json").document
        listed += [key["kid"] for key in page["keys"]]
        cursor = page["next"]
    assert listed == kids
    assert "client c3" in runner.run("keys", "revoke", "--client", "c3", "--yes").out
    assert runner.status(kids[3]) == "revoked"
    done = runner.run("keys", "disable", "--env", "live", "--status", "active", "--yes", "--json")
    assert sorted(done.document["disabled"]) == sorted(set(kids) - {kids[3]})
    assert {runner.status(kid) for kid in kids} == {"disabled", "revoked"}


def test_sidecars_of_all_partitions(runner):
    """Without a sidecar the list is empty, and the number of changes is that of all partitions."""
    kids = issue_many(runner)
    found = runner.run("sidecars", "--json").document
    assert found == {"seq": len(kids), "sidecars": []}


def test_a_partition_of_another_store_is_refused(runner):
    """Every command refuses a store of which one partition has another pepper, or lost its data."""
    kid, _ = runner.issue()
    names = Names(partition=(PARTITIONS.of(kid) + 1) % COUNT, partitions=COUNT)
    runner.valkey.admin.hset(names.meta, "pepper:1", "0" * 16)
    assert "pepper" in refusal(runner.run("keys", "show", kid), 3)
    runner.valkey.admin.delete(names.meta)
    assert "authz" in refusal(runner.run("keys", "show", kid), 3)


def test_imported_keys(runner, tmp_path):
    """Keys of another system are imported into the homes of their owners, and verified there."""
    lines = [f'{{"key": "sk-{number:030}", "client_id": "c{number}"}}\n' for number in range(20)]
    done = runner.run("keys", "import", "--json", stdin="".join(lines))
    assert done.code == 0, done.err
    listed = runner.run("keys", "list", "--json").document["keys"]
    assert {key["client_id"] for key in listed} == {f"c{number}" for number in range(20)}
    assert all(PARTITIONS.of(key["kid"]) == PARTITIONS.home(key["client_id"]) for key in listed)
    assert runner.run("keys", "import", stdin="".join(lines)).code == 0
    assert len(runner.run("keys", "list", "--json").document["keys"]) == 20
    moved = lines[0].replace('"c0"', '"c1"')
    assert runner.run("keys", "import", stdin=moved).code == 1
    known = f"sk-{7:030}"
    assert runner.run("keys", "verify", stdin=known).code == 0
    assert runner.run("keys", "revoke", "--key-stdin", stdin=known).code == 0
    assert runner.run("keys", "verify", stdin=known).code == 1
    leaked = tmp_path / "leaked.txt"
    leaked.write_text(runner.issue(client="c3")[1])
    found = runner.run("scan", str(leaked), "--json").document["found"]
    assert "c3" in str(found)
