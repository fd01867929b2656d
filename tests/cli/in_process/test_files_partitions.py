"""Files of keys on a store with several partitions."""

from pathlib import Path

import pytest
import yaml

from authz.core.partitions import Partitions
from tests.support.cli.in_process import CommandRunner

COUNT = 8
PARTITIONS = Partitions(COUNT)
FILE = """\
# all keys
authz: 1
as_of: 0
keys:
{}"""


@pytest.fixture
def runner(tmp_path, valkey, monkeypatch):
    """A directory with a pepper, and an initialised store of eight partitions."""
    return CommandRunner(tmp_path, valkey, monkeypatch, partitions=COUNT)


@pytest.fixture
def applied(runner) -> dict[str, dict[str, object]]:
    """A file with keys of twelve clients that was applied; its entries by ref, with their kids."""
    entries = [f"  - {{ref: r{number}, client: c{number}}}\n" for number in range(12)]
    Path("keys.yaml").write_text(FILE.format("".join(entries)))
    Path("secrets").mkdir(mode=0o700)
    done = runner.run("apply", "-f", "keys.yaml", "--secrets-to", "secrets")
    assert done.code == 0, done.err
    return {entry["ref"]: entry for entry in content()["keys"]}


def content() -> dict:
    """Return the content of the file."""
    return yaml.safe_load(Path("keys.yaml").read_text())


def write(document: dict) -> None:
    """Write the file."""
    Path("keys.yaml").write_text(yaml.safe_dump(document))


def test_new_keys_get_kids_of_their_homes(runner, applied):
    """The file gets the kids, and the number of the last change of each partition."""
    homes = [PARTITIONS.home(f"c{number}") for number in range(12)]
    assert [PARTITIONS.of(applied[f"r{number}"]["kid"]) for number in range(12)] == homes
    assert content()["as_of"] == [homes.count(at) for at in range(COUNT)]
    assert "as_of: [" in Path("keys.yaml").read_text()
    again = runner.run("diff", "-f", "keys.yaml")
    assert again.code == 0, again.out + again.err
    exported = yaml.safe_load(runner.run("keys", "export").out)
    assert exported["as_of"] == content()["as_of"]
    assert {entry["kid"] for entry in exported["keys"]} == {
        entry["kid"] for entry in applied.values()
    }


def test_pruned_keys_are_those_that_the_file_knew(runner, applied):
    """A key that was issued later is kept, also if its number is below that of other partitions."""
    document = content()
    gone = document["keys"].pop(0)
    write(document)
    busy = applied["r5"]["kid"]
    for name in ("one", "two", "three"):
        assert runner.run("keys", "update", busy, "--name", name).code == 0
    document = yaml.safe_load(runner.run("keys", "export").out)
    document["keys"] = [entry for entry in document["keys"] if entry["kid"] != gone["kid"]]
    write(document)
    homes = {PARTITIONS.home(f"n{number}"): f"n{number}" for number in range(60)}
    quiet = next(at for at in range(COUNT) if at != PARTITIONS.of(busy))
    later, _ = runner.issue(client=homes[quiet])
    version = runner.run("keys", "show", later, "--json").document["version"]
    assert version <= document["as_of"][PARTITIONS.of(busy)]
    refused = runner.run("apply", "-f", "keys.yaml", "--prune", "--prune-many", "--yes")
    assert later in refused.out + refused.err
    assert runner.status(later) == "active"
    runner.run("keys", "delete", later, "--force")
    pruned = runner.run("apply", "-f", "keys.yaml", "--prune", "--prune-many", "--yes")
    assert pruned.code == 0, pruned.out + pruned.err
    assert runner.status(gone["kid"]) == "revoked"


def test_a_file_of_another_number_of_partitions_prunes_nothing_that_changed(runner, applied):
    """Its numbers say nothing about this store."""
    document = content()
    gone = document["keys"].pop(0)
    runner.run("keys", "update", gone["kid"], "--name", "other")
    for as_of in (99, [99] * 48):
        write(document | {"as_of": as_of})
        refused = runner.run("apply", "-f", "keys.yaml", "--prune", "--prune-many", "--yes")
        assert "issued or changed after the file was made" in refused.out + refused.err
        assert runner.status(gone["kid"]) == "active"


def test_a_declared_move_is_named_before_anything_is_done(runner, applied):
    """`diff` and `apply` name the key whose new owner lives in another partition."""
    document = content()
    home = PARTITIONS.home("c0")
    tenants = (f"t{number}" for number in range(100))
    document["keys"][0]["tenant"] = next(t for t in tenants if PARTITIONS.home("", "", t) != home)
    write(document)
    for command in ("diff", "apply"):
        done = runner.run(command, "-f", "keys.yaml", *(["--yes"] if command == "apply" else []))
        assert done.code != 0
        assert "another partition of the store" in done.out + done.err
