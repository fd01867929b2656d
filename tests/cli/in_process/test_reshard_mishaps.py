"""`authz init --reshard` when something goes wrong beside it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from authz.storage.resharding import moving
from authz.storage.resharding.copying import Copying
from authz.storage.resharding.stages import Stages
from authz.storage.resharding.target import Target
from authz.storage.schema import DEFAULT, Names
from tests.support.cli.in_process import CommandRunner
from tests.support.real import Valkey

COUNT = 8
MOVE = ("init", "--reshard", "--yes", "--json")
STANDS_STILL = """
import asyncio, os, sys
from authz.cli.main import main
from authz.core.errors import Unavailable
from authz.storage.resharding import moving
from authz.storage.resharding.freezing import Freezing
from authz.storage.resharding.trail_copy import TrailCopy
moving.NOTICE_SECONDS = 0.0
fails, again = sys.argv[1] == "fails", int(sys.argv[2])
thaw = Freezing.thaw
async def interrupted(self):
    os.kill(os.getpid(), again)
    await asyncio.sleep(0.1)
    await thaw(self)
Freezing.thaw = interrupted
async def for_ever(*_any):
    print("frozen", flush=True)
    await asyncio.to_thread(sys.stdin.readline) if fails else await asyncio.sleep(3600)
    raise Unavailable("the trail cannot be copied")
TrailCopy.finish = for_ever
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture
def runner(tmp_path: Path, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> CommandRunner:
    """A directory with a pepper, and an initialised store of one partition."""
    monkeypatch.setattr(moving, "LATE_SECONDS", 0.0)
    monkeypatch.setattr(moving, "NOTICE_SECONDS", 0.0)
    return CommandRunner(tmp_path, own_valkey, monkeypatch)


@pytest.mark.parametrize(
    ("number", "again"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGHUP, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGINT),
        (signal.SIGINT, signal.SIGINT),
        (None, signal.SIGTERM),
    ],
)
def test_a_signal_thaws_the_store(
    runner: CommandRunner, number: signal.Signals | None, again: signal.Signals
) -> None:
    """The end of a terminal, or of a container, leaves no frozen store.

    Nor does another signal while the store is thawed, after a signal or a fault.
    """
    kid, _ = runner.issue()
    process = subprocess.Popen(
        [sys.executable, "-c", STANDS_STILL, "" if number else "fails", str(int(again)), *MOVE],
        env={**os.environ, "AUTHZ_REDIS__PARTITIONS": str(COUNT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "frozen\n"
    assert runner.run("keys", "update", kid, "--name", "new").code == 3
    if number:
        process.send_signal(number)
    _, told = process.communicate("\n", timeout=60)
    assert (process.returncode, "takes changes again" in told) == (130, True), told
    assert runner.run("keys", "update", kid, "--name", "new").code == 0


def test_a_store_that_the_copy_has_filled(
    runner: CommandRunner, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer names the way out, and --cancel frees the memory of a full store."""
    kid, _ = runner.issue()
    round_ = Copying.round

    async def full(self: Copying, *count: int) -> int:
        own_valkey.admin.config_set("maxmemory", 1)
        return await round_(self, *count)

    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    with monkeypatch.context() as patch:
        patch.setattr(Copying, "round", full)
        done = runner.run(*MOVE)
    assert (done.code, "the store is full" in done.err) == (3, True), done.err
    assert "--cancel" in done.err
    done = runner.run("init", "--reshard", "--cancel")
    assert (done.code, "is cancelled" in done.out) == (0, True), done.err
    own_valkey.admin.config_set("maxmemory", 0)
    assert {name for name in own_valkey.admin.scan_iter() if "{0}" not in name} == {DEFAULT.meta}
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", "1")
    assert runner.run("keys", "update", kid, "--name", "new").code == 0


def test_a_pepper_that_is_added_at_the_end(
    runner: CommandRunner, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field of authz:meta that arrives between two partitions is in all of them."""
    runner.issue()
    complete = Target.complete

    async def late(self: Target, fields: dict[str, str]) -> None:
        await complete(self, fields)
        own_valkey.admin.hset(DEFAULT.meta, "pepper:2", "new")
        await asyncio.sleep(0)

    monkeypatch.setattr(Target, "complete", late)
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    done = runner.run(*MOVE)
    assert done.code == 0, done.err
    for at in range(COUNT):
        names = Names(partition=at, partitions=COUNT)
        assert own_valkey.admin.hget(names.meta, "pepper:2") == "new"


def test_a_field_that_a_partition_has_stays(
    runner: CommandRunner, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that is complete may be in use, so its fields are newer than the old ones."""
    complete = Target.complete

    async def late(self: Target, fields: dict[str, str]) -> None:
        await complete(self, fields)
        own_valkey.admin.hset(self.names.meta, "pepper:2", "newer")
        own_valkey.admin.hset(DEFAULT.meta, "pepper:2", "old")

    monkeypatch.setattr(Target, "complete", late)
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    done = runner.run(*MOVE)
    assert done.code == 0, done.err
    for at in range(COUNT):
        names = Names(partition=at, partitions=COUNT)
        assert own_valkey.admin.hget(names.meta, "pepper:2") == "newer"


@pytest.mark.parametrize("stage", ["decided", "switched", None])
def test_a_run_that_was_late_adds_no_fields(
    runner: CommandRunner,
    own_valkey: Valkey,
    monkeypatch: pytest.MonkeyPatch,
    stage: str | None,
) -> None:
    """Another run has ended the move meanwhile, or is about to: its partitions stay as they are.

    stage: that it has noted. At the end it has forgotten the move, and has no lease any more.
    """
    switch, is_complete = Stages.switch, Target.is_complete
    admin, is_late = own_valkey.admin, False

    async def changed(self: Stages, content: dict[str, str]) -> bool:
        nonlocal is_late
        is_late = True
        admin.hset(DEFAULT.meta, "pepper:2", "removed since")
        return await switch(self, content)

    async def overtaken(self: Target) -> bool:
        found = await is_complete(self)
        if is_late and stage == "decided":
            admin.set(DEFAULT.resharder, "another run")
        elif is_late and stage is None:
            admin.delete(DEFAULT.resharding)
        elif is_late:
            admin.hset(DEFAULT.resharding, "stage", "switched")
        return found

    monkeypatch.setattr(Stages, "switch", changed)
    monkeypatch.setattr(Target, "is_complete", overtaken)
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    done = runner.run(*MOVE)
    assert (done.code, "taken for dead" in done.err) == (1, True), done.err
    for at in range(COUNT):
        names = Names(partition=at, partitions=COUNT)
        assert not admin.hexists(names.meta, "pepper:2")
