"""Commands that take rights away while `authz init --reshard` has frozen the store."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from authz.core.errors import Unavailable
from authz.core.selector import Position
from authz.flows import selection
from authz.storage import stored_records
from authz.storage.endpoint import Client
from authz.storage.listing import StoredIndex
from authz.storage.resharding import moving
from authz.storage.resharding.trail_copy import TrailCopy
from authz.storage.schema import DEFAULT
from authz.wiring import moved_parts
from tests.support.cli.in_process import AUTHZ, CommandRunner
from tests.support.real import Valkey

COUNT = 8
MOVE = ("init", "--reshard", "--yes", "--json")
WAITS = "waits for it"


class Begun:
    """A command in a process of its own."""

    def __init__(self, *arguments: str, partitions: int = 1) -> None:
        self._process = subprocess.Popen(
            [*AUTHZ, *arguments, "--json"],
            env={**os.environ, "AUTHZ_REDIS__PARTITIONS": str(partitions)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.told = ""

    async def waits(self) -> None:
        """Return once the command says that it waits, or ends."""
        assert self._process.stderr is not None
        while WAITS not in self.told:
            line = await asyncio.to_thread(self._process.stderr.readline)
            self.told += line
            if not line:
                return

    def end(self) -> int:
        """Wait for the end, and return the exit code."""
        out, err = self._process.communicate(timeout=60)
        self.told += err
        self.document = json.loads(out) if out.startswith("{") else {}
        return self._process.returncode


@pytest.fixture
def runner(tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> CommandRunner:
    """A directory with a pepper, and an initialised store of one partition."""
    monkeypatch.setattr(moving, "LATE_SECONDS", 0.5)
    monkeypatch.setattr(moving, "NOTICE_SECONDS", 0.0)
    found = CommandRunner(tmp_path, valkey, monkeypatch)
    monkeypatch.setenv("AUTHZ_TOKENS__ISSUER", "https://tests.example")
    return found


def in_the_freeze(
    patch: pytest.MonkeyPatch, begin: Callable[[], list[Begun]], *, fails: bool = False
) -> list[Begun]:
    """Begin commands while the next move has frozen the store, and let it go on when they wait."""
    found: list[Begun] = []
    finish = TrailCopy.finish

    async def held(self: TrailCopy, name: str) -> None:
        found.extend(begin())
        for one in found:
            await one.waits()
        if fails:
            raise Unavailable("the trail cannot be copied")
        await finish(self, name)

    patch.setattr(TrailCopy, "finish", held)
    return found


def entries(runner: CommandRunner, kid: str, action: str) -> int:
    """Return how often the history of a key has an action."""
    found = runner.run("keys", "history", kid, "--json").document["changes"]
    return [one["action"] for one in found].count(action)


@pytest.mark.parametrize("fails", [False, True])
def test_removals_wait_and_are_made_once(
    runner: CommandRunner, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Each is in the store that is in force afterwards, with one entry in its history."""
    given = ("--tenant", "t", "--scope", "a", "--scope", "b")
    kids = [runner.issue(*given, client=f"c{at}")[0] for at in range(8)]
    revoked, waited, disabled, shrunk, retired, granted, *many = kids
    assert runner.run("keys", "rotate", retired, "--grace", "1h").code == 0
    signer = runner.run("tokens", "keys", "rotate", "--json").document["id"]

    def begin() -> list[Begun]:
        refused = Begun("keys", "enable", granted)
        assert (refused.end(), "try again" in refused.told) == (3, True), refused.told
        return [
            Begun("keys", "revoke", revoked),
            Begun("keys", "revoke", waited, "--wait"),
            Begun("keys", "disable", disabled),
            Begun("keys", "update", shrunk, "--remove-scope", "a"),
            Begun("keys", "retire", retired, "--secret", "old"),
            Begun("keys", "revoke", "--tenant", "t", "--client", "c6", "--yes"),
            Begun("tokens", "keys", "remove", signer),
        ]

    assert runner.run("keys", "disable", granted).code == 0
    begun = in_the_freeze(monkeypatch, begin, fails=fails)
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    done = runner.run(*MOVE)
    assert done.code == (3 if fails else 0), done.err
    assert all(WAITS in one.told for one in begun), [one.told for one in begun]
    assert [one.end() for one in begun] == [0] * len(begun), [one.told for one in begun]
    if fails:
        monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", "1")
    status = {kid: runner.status(kid) for kid in kids}
    assert [status[kid] for kid in (revoked, waited, many[0])] == ["revoked"] * 3
    assert status[disabled] == status[granted] == "disabled"
    assert status[many[1]] == "active"
    shown = runner.run("keys", "show", shrunk, "--json").document
    assert shown["scopes"] == ["b"]
    for kid, action in (
        *((revoked, "revoke"), (waited, "revoke"), (many[0], "revoke")),
        *((disabled, "disable"), (shrunk, "update"), (retired, "retire")),
    ):
        assert entries(runner, kid, action) == 1, action
    assert signer not in runner.run("tokens", "keys", "list", "--json").out
    assert runner.run("audit", "verify").code == 0


def test_a_removal_does_not_wait_for_ever(
    runner: CommandRunner, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nobody ends the move, the command ends with the answer to try again."""
    from authz.flows import store_in_force

    kid, _ = runner.issue()
    valkey.admin.rename(DEFAULT.seq, "aside")
    valkey.admin.rpush(DEFAULT.seq, "moving")
    valkey.admin.hset(DEFAULT.meta, "resharding", str(COUNT))
    monkeypatch.setattr(store_in_force, "PATIENCE", 0.4)
    done = runner.run("keys", "revoke", kid)
    assert (done.code, "is moving to 8 partitions; try again" in done.err) == (3, True), done.err


@pytest.mark.parametrize("command", ["show", "list"])
def test_a_command_that_ends_after_the_removal(
    runner: CommandRunner,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """A command that ran on while the old names were removed says so, and is run again."""
    kid, _ = runner.issue()
    monkeypatch.setattr(moved_parts, "SHORT_SECONDS", -1.0)
    read = stored_records.read

    async def late(client: Client, kids: list[str]) -> list[object]:
        monkeypatch.setattr(stored_records, "read", read)
        done = await asyncio.to_thread(Begun(*MOVE[:-1], partitions=COUNT).end)
        assert done == 0
        return await read(client, kids)

    monkeypatch.setattr(stored_records, "read", late)
    done = runner.run("keys", *((command, kid) if command == "show" else (command,)))
    assert done.code == 3
    assert "was moved to 8 partitions while this command ran" in done.err
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    assert runner.status(kid) == "active"


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_list_of_keys_that_is_removed_meanwhile(
    runner: CommandRunner, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    """A bulk change finds the rest in the partitions. After a long search it is run again."""
    kids = {runner.issue("--tenant", "t")[0] for _ in range(5)}
    monkeypatch.setattr(moved_parts, "SHORT_SECONDS", -1.0 if is_slow else 3600.0)
    monkeypatch.setattr(selection, "CHUNK", 2)
    monkeypatch.setattr(selection, "SCREENED", 2)
    kids_of = StoredIndex.kids

    async def late(
        self: StoredIndex,
        client_id: str | None,
        after: Position | None,
        count: int,
        *,
        is_newest_first: bool = False,
    ) -> Sequence[Position]:
        if after is not None:
            monkeypatch.setattr(StoredIndex, "kids", kids_of)
            done = await asyncio.to_thread(Begun(*MOVE[:-1], partitions=COUNT).end)
            assert done == 0
        return await kids_of(self, client_id, after, count, is_newest_first=is_newest_first)

    monkeypatch.setattr(StoredIndex, "kids", late)
    done = runner.run("keys", "disable", "--tenant", "t", "--yes", "--json")
    if is_slow:
        assert (done.code, "run it again" in done.err) == (3, True), done.err
        done = runner.run("keys", "disable", "--tenant", "t", "--yes", "--json")
    assert done.code == 0, done.err
    assert set(done.document["disabled"]) == kids
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(COUNT))
    assert {runner.status(kid) for kid in kids} == {"disabled"}
