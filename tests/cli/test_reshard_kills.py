"""`authz init --reshard` beside a writer, killed at random points of its work."""

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from authz.core.errors import NotFound, Unavailable
from authz.settings import model
from authz.storage.schema import DEFAULT, Names
from tests.support.cli.in_process import CommandRunner
from tests.support.real import Valkey
from tests.support.storage.moving_writer import Doors, Writer, with_doors

COUNT = 8
KEYS = 150
COMMANDS = 235  # that a run sends after its preconditions, about; it freezes the store at 123
TRIALS = int(os.environ.get("AUTHZ_TRIALS", "4"))
SEED = int(os.environ.get("AUTHZ_SEED", "20261130"))
RUN = """
import os, sys
from redis.asyncio.connection import AbstractConnection
from authz.cli.main import main
from authz.storage.resharding import moving
moving.LATE_SECONDS = 0.05
moving.NOTICE_SECONDS = 0.0
left, is_after, mutant = int(sys.argv[1]), sys.argv[2] == "after", sys.argv[3]
send, move, is_begun = AbstractConnection.send_packed_command, moving.Moving.move, False
async def begun(self, **options):
    global is_begun
    is_begun = True
    return await move(self, **options)
moving.Moving.move = begun
async def counted(self, *words, **options):
    global left
    left -= is_begun
    if not is_begun:
        return await send(self, *words, **options)
    if left == 0 and not is_after:
        os.kill(os.getpid(), 9)
    await send(self, *words, **options)
    if left == 0:
        os.kill(os.getpid(), 9)
AbstractConnection.send_packed_command = counted
if mutant == "no catch-up":
    async def nothing(self, copying):
        pass
    moving.Moving._last_round = nothing
    moving.Moving._compare = lambda self, *_: nothing(self, None)
sys.exit(main(sys.argv[4:]))
"""


@pytest.fixture
def runner(tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> CommandRunner:
    """A directory with a pepper, and an initialised store of one partition."""
    return CommandRunner(tmp_path, valkey, monkeypatch)


def settings(partitions: int = 1) -> model.Settings:
    """Return the settings of a store with so many partitions."""
    environ = os.environ | {"AUTHZ_REDIS__PARTITIONS": str(partitions)}
    return model.load(environ=environ)


def reshard(*options: str, kill_at: int = 0, after: bool = False, mutant: str = "") -> int:
    """Run the command to its end, or until it is killed. Return its exit code.

    kill_at: number of the command to the store, after the preconditions.
    """
    environ = os.environ | {"AUTHZ_REDIS__PARTITIONS": str(COUNT)}
    place = "after" if after else "before"
    command = [sys.executable, "-c", RUN, str(kill_at), place, mutant]
    done = subprocess.run(
        [*command, "init", "--reshard", "--yes", *options],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in {0, -9} or mutant, done.stderr
    return done.returncode


async def judge(doors: Doors, writer: Writer) -> None:
    """Check that each confirmed change is there, and that refused ones can be made now."""
    kids: set[str] = set()
    for kid, wanted in writer.expected.items():
        found = await doors.parts.keys.find(kid)
        if kid in writer.unknown:
            continue
        if wanted is None:
            assert found is None, f"{kid} was deleted"
            continue
        assert found is not None, f"{kid} is lost"
        seen = {"status": str(found.status), "name": found.name, "tenant_id": found.tenant_id}
        assert seen == wanted, kid
        kids.add(kid)
    listed = {one.kid for one in await all_places(doors)}
    assert kids <= listed
    assert not {kid for kid, one in writer.expected.items() if one is None} & listed
    if not (writer.unknown or writer.is_lost):
        assert listed == kids
    of = {kid for kid, one in writer.expected.items() if one and one["status"] == "active"}
    for change in writer.refused:
        is_new = change.kind in {"issue", "import"}
        if change.kind == "owner" or (not is_new and change.kid not in of):
            continue  # a key keeps its partition from now on
        writer.note(change, await doors.make(change))
        if change.kind in {"revoke", "disable", "delete"}:
            of.discard(change.kid)


async def all_places(doors: Doors):
    """Return the places of all keys in the index."""
    return await doors.parts.index.kids(None, None, 100_000)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_killed_move_is_ended_by_the_next_one(
    runner: CommandRunner, valkey: Valkey, trial: int
) -> None:
    """All confirmed changes are there after the move, and refused ones can be repeated."""
    rng = random.Random(f"{SEED} {trial}")
    writer = Writer(settings(), rng.randrange(1 << 30))
    writer.issue(KEYS)
    writer.start()
    code = -9
    for _ in range(rng.randrange(1, 4)):
        at, is_after = rng.randrange(1, COMMANDS), rng.random() < 0.5
        code = reshard("--keep", kill_at=at, after=is_after)
        valkey.admin.delete(DEFAULT.resharder)  # as if its time had passed
        if code == 0:
            break
    if code:
        reshard("--keep")
    writer.stop()
    reshard()  # the rest: the old names are removed when no process uses them any more
    asyncio.run(with_doors(settings(COUNT), lambda doors: judge(doors, writer)))
    assert runner.run("keys", "list").code == 0  # the store names the number of its partitions
    for at in range(COUNT):
        assert not valkey.admin.exists(Names(partition=at, partitions=COUNT).restoring)


def stopped_and_judged(writer: Writer) -> None:
    """Raise if changes are lost. The writer itself may be the first to miss a key."""
    writer.stop()
    asyncio.run(with_doors(settings(COUNT), lambda doors: judge(doors, writer)))


def test_without_the_last_round_changes_are_lost(runner: CommandRunner) -> None:
    """The test above finds a move that copies nothing after the freeze."""
    writer = Writer(settings(), 7)
    writer.issue(KEYS)
    writer.start()
    assert reshard("--keep", mutant="no catch-up") == 0
    with pytest.raises((AssertionError, NotFound, Unavailable)):
        stopped_and_judged(writer)


def test_a_cancelled_move_leaves_the_store_as_it_was(runner: CommandRunner, valkey: Valkey) -> None:
    """After a kill before the decision, --cancel removes all traces, and changes go on."""
    writer = Writer(settings(), 11)
    writer.issue(KEYS)
    before = snapshot(valkey)
    for kill_at in (20, 90, 150):
        assert reshard(kill_at=kill_at) == -9
        valkey.admin.delete(DEFAULT.resharder)
        assert reshard("--cancel") == 0
        assert snapshot(valkey) == before
    assert runner.run("keys", "issue", "--client", "acme").code == 0


def snapshot(valkey: Valkey) -> dict[str, bytes | None]:
    """Return the content of the whole store."""
    return {name: valkey.admin.dump(name) for name in valkey.admin.scan_iter()}
