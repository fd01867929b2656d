"""`authz init` with several partitions, and the commands that do not know them."""

import json
import os
from pathlib import Path

import pytest

from authz.core.errors import Unavailable
from authz.storage.emptiness import emptying
from authz.storage.keys import StoredKeys
from authz.storage.schema import DEFAULT, Names
from tests.support.cli.terminal import run
from tests.support.real import Valkey

EIGHT = [Names(partition=partition, partitions=8) for partition in range(8)]


@pytest.fixture
def divided(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of commands with redis.partitions: 8, and a store without data."""
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", "8")
    return empty_store


def test_each_partition_is_set_up(divided: Path, valkey: Valkey) -> None:
    """Each has its meta; a second run finds all of them and changes nothing."""
    assert run("init", "--json").document["store_initialised"] is True
    found = [valkey.admin.hgetall(names.meta) for names in EIGHT]
    assert [(one["partitions"], one["partition"]) for one in found] == [
        ("8", str(partition)) for partition in range(8)
    ]
    assert len({one["pepper:1"] for one in found}) == 1
    assert valkey.admin.hgetall(DEFAULT.meta) == {"schema": "1", "partitions": "8", "complete": "1"}
    assert run("init", "--json").document["store_initialised"] is False
    assert [valkey.admin.hgetall(names.meta) for names in EIGHT] == found


def test_an_interrupted_run_is_completed(divided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run sets up the partitions that the first one did not reach, with its pepper."""
    initialise, reached = StoredKeys.initialise, []

    async def failing(self: StoredKeys, *wanted: object, **options: bool) -> bool:
        reached.append(self)
        if len(reached) == 4:
            raise Unavailable("the store cannot be used: gone")
        return await initialise(self, *wanted, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(StoredKeys, "initialise", failing)
        assert run("init").code == 3
    pepper = (divided / "authz-pepper-1").read_bytes()
    assert run("init").code == 0
    assert (divided / "authz-pepper-1").read_bytes() == pepper


@pytest.mark.parametrize("has_state", [True, False])
def test_a_partition_that_lost_its_data_is_not_set_up_again(
    divided: Path, valkey: Valkey, has_state: bool
) -> None:
    """Without the state file the signpost still says that the partition had data."""
    assert run("init").code == 0
    valkey.admin.delete(EIGHT[5].meta)
    if not has_state:
        (divided / ".authz-pepper-1.state").unlink()
    assert "the store's data of 1 of 8 partitions is gone" in run("init").error
    assert not valkey.admin.exists(EIGHT[5].meta)
    assert run("init", "--new-store", "--yes").code == 0
    assert valkey.admin.hget(EIGHT[5].meta, "partition") == "5"


def test_all_nodes_have_to_be_emptied() -> None:
    """A restore needs each partition empty; the node of one has others, too."""
    assert (
        emptying(Names(is_clustered=True, partition=2, partitions=8)) == "FLUSHDB on each primary"
    )
    assert "owns its slot" in emptying(Names(is_clustered=True))


@pytest.mark.parametrize(
    "counts",
    [("8", "48"), ("8", "1"), ("1", "8")],
)
def test_another_number_of_partitions_is_refused(
    empty_store: Path,
    valkey: Valkey,
    monkeypatch: pytest.MonkeyPatch,
    counts: tuple[str, str],
) -> None:
    """The refusal names both numbers, and nothing is written."""
    first, second = counts
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", first)
    assert run("init").code == 0
    (empty_store / "authz-pepper-1").unlink()
    before = sorted(valkey.admin.keys("*"))
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", second)
    problem = f"the store's number of partitions is {first}, redis.partitions is {second}"
    assert problem in run("init").error
    assert sorted(valkey.admin.keys("*")) == before
    assert "authz-pepper-1" not in os.listdir(empty_store)


def test_the_option_has_to_equal_the_setting(divided: Path, valkey: Valkey) -> None:
    """A number that only `init` knew would leave every sidecar without a store."""
    assert "redis.partitions is 8" in run("init", "--partitions", "48").error
    assert valkey.admin.dbsize() == 0
    assert run("init", "--partitions", "8").code == 0


def test_the_state_file_is_that_of_the_store(divided: Path, valkey: Valkey) -> None:
    """The state file names the address of the store, which all partitions have in common."""
    assert run("init").code == 0
    state = json.loads((divided / ".authz-pepper-1.state").read_text())
    assert (state["store"], state["change"]) == (valkey.url, 0)


def test_the_doctor_looks_at_each_partition(divided: Path, valkey: Valkey) -> None:
    """A finding is the worst of all partitions, and names the partition that has it."""
    assert run("init").code == 0
    found = {one["check"]: one for one in run("doctor", "--json").document["findings"]}
    assert found["partitions"]["found"] == "8, as in redis.partitions"
    assert found["identity"]["found"] == "in all partitions; in 0: initialised, pepper 1"
    assert found["serving"]["level"] == "ok"
    valkey.admin.delete(EIGHT[5].meta)
    found = {one["check"]: one for one in run("doctor", "--json").document["findings"]}
    assert found["identity"]["level"] == "fail"
    assert found["identity"]["found"].startswith("partition 5: the store has no authz:meta")
    assert found["records"]["level"] == "ok"


def test_the_doctor_names_another_number(divided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finding has the number of the store and that of the settings."""
    assert run("init").code == 0
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", "48")
    found = {one["check"]: one for one in run("doctor", "--json").document["findings"]}
    problem = "the store's number of partitions is 8, redis.partitions is 48"
    assert (found["partitions"]["level"], found["partitions"]["found"]) == ("fail", problem)


@pytest.mark.parametrize("counts", [("8", "48"), ("8", "1"), ("1", "8")])
@pytest.mark.parametrize(
    "command",
    ["keys list", "sidecars", "abuse list", "usage", "events list", "audit verify", "backup kept"],
)
def test_each_command_names_both_numbers(
    empty_store: Path, monkeypatch: pytest.MonkeyPatch, command: str, counts: tuple[str, str]
) -> None:
    """An empty answer, or the advice to set up the store anew, would be wrong."""
    first, second = counts
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", first)
    assert run("init").code == 0
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", second)
    outcome = run(*command.split())
    problem = f"the store's number of partitions is {first}, redis.partitions is {second}"
    assert (outcome.code, problem in outcome.error) == (3, True), outcome


@pytest.mark.parametrize("command", ["keys list", "audit verify", "backup kept"])
def test_a_command_names_the_partition_that_lost_its_data(
    divided: Path, valkey: Valkey, command: str
) -> None:
    """The other partitions still have their meta."""
    assert run("init").code == 0
    valkey.admin.delete(EIGHT[5].meta)
    assert "partition 5: the store has no authz:meta" in run(*command.split()).error


def test_a_refused_run_fixes_no_number(
    divided: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run with a wrong setting would shut out the right one, after a loss of the data."""
    assert run("init").code == 0
    valkey.admin.flushdb()
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", "48")
    assert "the store's data is gone" in run("init").error
    assert valkey.admin.dbsize() == 0
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", "8")
    assert run("init", "--new-store", "--yes").code == 0
