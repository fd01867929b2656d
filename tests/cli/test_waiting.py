"""`--wait` and `authz sidecars`, against running sidecars and a real store."""

import asyncio
import contextlib
import json
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from authz.core.errors import Unavailable
from authz.settings import model
from authz.storage import registry
from authz.wiring import sidecar
from tests.support.cli.terminal import run
from tests.support.real import Valkey, eventually
from tests.support.stalls import conclusively
from tests.support.storage import stored

KID = re.compile(r"[0-9A-Za-z]{16}")


class Terminal:
    """Commands against one store, with sidecars."""

    def __init__(self, directory: Path, store: str) -> None:
        self.file = directory / "authz.yaml"
        self._store = f"redis: {{ url: '{store}' }}\n"
        self._store += f"keys: {{ peppers: [ {{ file: {directory}/pepper }} ] }}\n"
        self.set(lease="30s")

    def set(self, lease: str, grace: str = "0") -> None:
        """Change the settings of sidecars that start later."""
        self.file.write_text(
            f"{self._store}cache: {{ trust_lease: {lease} }}\noutage: {{ grace: {grace} }}\n"
            "check: { listen: '127.0.0.1:0' }\nops: { listen: '127.0.0.1:0' }\n"
        )

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command. Return its exit code and output."""
        done = await asyncio.to_thread(run, "--config", str(self.file), *arguments)
        return done.code, done.out, done.err

    async def issue(self, *arguments: str) -> str:
        """Issue a key. Return its kid."""
        _, out, _ = await self.run("keys", "issue", "--client", "acme", "--json", *arguments)
        return json.loads(out)["kid"]

    @contextlib.asynccontextmanager
    async def sidecars(self, count: int):
        """Run this many sidecars until the block ends. Yield them when they are trusted."""
        settings = model.load(self.file)
        async with AsyncExitStack() as stack:
            started = [sidecar.sidecar(settings) for _ in range(count)]
            running = [await stack.enter_async_context(each) for each in started]
            for one in running:
                await eventually(lambda one=one: one.partitions[0].feed.health().trusted)
            yield running


@pytest.fixture
async def terminal(tmp_path, valkey: Valkey):
    """Commands and sidecars on the shared store."""
    found = Terminal(tmp_path, valkey.url)
    await found.run("init")
    return found


async def test_a_revocation_waits_for_every_sidecar(terminal):
    """The answer has the number of sidecars and the time."""
    kid = await terminal.issue()
    async with terminal.sidecars(3):
        code, out, err = await terminal.run("keys", "revoke", kid, "--wait")

    assert re.fullmatch(rf"{kid} is now revoked; 3 of 3 sidecars confirmed in \d+ ms\n", out), out
    assert (code, err) == (0, "")


@pytest.mark.parametrize("command", ["revoke", "disable", "enable", "rotate"])
async def test_every_change_of_a_key_can_be_waited_for(terminal, command):
    """--wait only adds the confirmation to the JSON document."""
    kid = await terminal.issue()
    if command == "enable":
        await terminal.run("keys", "disable", kid)
    async with terminal.sidecars(1):
        code, out, _ = await terminal.run("keys", command, kid, "--wait", "--json")

    found = json.loads(out)
    elapsed = found["confirmation"].pop("elapsed_ms")
    assert found["confirmation"] == {
        "complete": True,
        "sidecars": 1,
        "confirmed": 1,
        "outstanding": [],
    }
    assert (code, elapsed >= 0) == (0, True)


async def test_without_wait_nothing_is_said_of_sidecars(terminal):
    """Without --wait the answer does not mention sidecars."""
    kid = await terminal.issue()
    async with terminal.sidecars(1):
        _, out, _ = await terminal.run("keys", "disable", kid, "--json")

    assert "confirmation" not in json.loads(out)


async def test_with_no_sidecar_there_is_nothing_to_wait_for(terminal):
    """Without sidecars --wait succeeds and says so."""
    kid = await terminal.issue()

    code, out, _ = await terminal.run("keys", "revoke", kid, "--wait")

    assert (code, out) == (0, f"{kid} is now revoked; no sidecar is running\n")


async def test_a_sidecar_that_does_not_hear_is_named(terminal, own_silence):
    """A silent sidecar is named with the end of its trust. Exit code 1 if that is after the
    timeout.
    """
    async with terminal.sidecars(2) as (deaf, _):
        instance = own_silence(deaf)

        async def play():
            kid = await terminal.issue("--outage-grace", "1h")
            wait = ("--wait", "--timeout", "500ms")
            return kid, *(await terminal.run("keys", "revoke", kid, *wait))

        found = await conclusively(play, lambda played: "1 of 2 sidecars" in played[2])
        kid, code, out, _ = found

    first, second = out.splitlines()
    assert re.fullmatch(rf"{kid} is now revoked; 1 of 2 sidecars confirmed in \d+ ms", first)
    assert re.fullmatch(rf"{instance} may allow until \d{{4}}-[0-9T:.-]+Z", second)
    assert code == 1


async def test_a_sidecar_whose_time_is_over_holds_nobody_up(terminal, own_silence):
    """After one lease a key without grace is denied everywhere, so --wait succeeds."""
    terminal.set(lease="300ms")
    kid = await terminal.issue("--outage-grace", "0")
    async with terminal.sidecars(1) as [deaf]:
        own_silence(deaf)
        code, out, _ = await terminal.run("keys", "revoke", kid, "--wait", "--json")

    found = json.loads(out)["confirmation"]
    assert (found["complete"], found["confirmed"], found["sidecars"]) == (True, 0, 1)
    assert found["outstanding"][0]["over"] is True
    assert code == 0


async def test_a_shorter_grace_is_waited_for_by_the_longer_one(terminal, own_silence):
    """A silent sidecar uses the earlier, longer grace of the key, so --wait counts with it."""
    kid = await terminal.issue("--outage-grace", "1h")
    shorter = ("keys", "update", kid, "--outage-grace", "0")
    waiting = ("--wait", "--timeout", "500ms", "--json")
    async with terminal.sidecars(1) as [deaf]:
        await eventually(lambda: deaf.registrations[0]._acknowledged == 1)
        own_silence(deaf)
        ends = [
            await terminal.run(*command, *waiting)
            for command in (shorter, shorter, ("keys", "revoke", kid))
        ]

    for code, out, _ in ends:
        found = json.loads(out)["confirmation"]
        assert (found["complete"], found["outstanding"][0]["over"], code) == (False, False, 1)


@pytest.fixture
def own_silence(monkeypatch):
    """Return a function that silences a sidecar and returns its instance."""

    def silence(running):
        registration = running.registrations[0]
        monkeypatch.setattr(registration, "_write", lambda _link: None)
        return registration._instance

    return silence


@pytest.mark.parametrize("cause", [Unavailable("the store is gone"), OverflowError("too large")])
async def test_a_new_key_is_shown_even_if_the_sidecars_cannot_be_asked(
    terminal, monkeypatch, cause
):
    """A failure after the change, also one that is a bug, does not hide the new key."""
    kid = await terminal.issue()

    class Fails:
        looks = 0

        async def find(self):
            Fails.looks += 1
            if Fails.looks > 1:
                raise cause
            return 0, []

    monkeypatch.setattr(registry, "StoredSidecars", lambda _client: Fails())
    code, out, err = await terminal.run("keys", "rotate", kid, "--wait")

    assert re.fullmatch(rf"ak_live_{kid}_\w+\n", out)
    assert "the sidecars did not confirm" in err
    assert str(cause) in err
    assert code == 1


@pytest.mark.parametrize("lease", ["9" * 20, 10**14, -1, "x"])
async def test_an_absurd_entry_ends_no_command(terminal, valkey, lease):
    """The change is said first; the entry is named and confirms nothing."""
    kid = await terminal.issue()
    valkey.admin.set(stored.sidecar("web-1"), json.dumps({"lease_ms": lease}), px=90_000_000)
    valkey.admin.zadd(stored.SIDECARS, {"web-1": time.time() * 1000})
    code, out, err = await terminal.run("keys", "revoke", kid, "--wait", "--timeout", "10ms")

    assert (code, err) == (1, "")
    assert out.startswith(f"{kid} is now revoked; 0 of 1 sidecars confirmed")
    assert re.search(r"web-1 may allow until \S+: its entry has no seal\n", out)
    code, out, _ = await terminal.run("sidecars")
    assert "no: its entry has no seal" in out
    assert code == 0


async def test_fewer_sidecars_than_there_are(terminal):
    """With fleet.sidecars a sidecar without an entry is missed."""
    kid = await terminal.issue()
    with terminal.file.open("a") as file:
        file.write("fleet: { sidecars: 2 }\n")
    async with terminal.sidecars(1):
        command = ("keys", "revoke", kid, "--wait", "--timeout", "1s", "--json")
        code, out, _ = await terminal.run(*command)

    found = json.loads(out)["confirmation"]
    assert (code, found["complete"], found["confirmed"]) == (1, False, 1)
    assert [one["instance"] for one in found["outstanding"]] == ["(sidecar 2)"]
    assert "fleet.sidecars" in found["outstanding"][0]["doubt"]


async def test_sidecars_are_listed(terminal):
    """Each sidecar has one line, and one entry in JSON."""
    kid = await terminal.issue()
    async with terminal.sidecars(2) as running:
        await eventually(lambda: all(r.registrations[0]._acknowledged == 1 for r in running))
        code, out, _ = await terminal.run("sidecars")
        _, as_json, _ = await terminal.run("sidecars", "--json")
        ports = {str(sidecar.server.address) for sidecar in running}

    found = json.loads(as_json)
    assert (code, found["seq"], KID.fullmatch(kid) is not None) == (0, 1, True)
    assert {each["address"] for each in found["sidecars"]} == ports
    for each in found["sidecars"]:
        assert (each["applied"], each["lag"], each["trusted"], each["reason"]) == (1, 0, True, "")
        assert (each["lease_ms"], each["outage_grace_ms"], each["cached"]) == (30_000, 0, 0)
    heading, *lines = out.splitlines()
    assert heading.split() == [
        *("INSTANCE", "VERSION", "APPLIED", "LAG", "CACHED", "UP", "SETTINGS", "TRUST")
    ]
    assert max(map(len, out.splitlines())) <= 100  # with a long name of the host
    assert len(lines) == 2
    assert all(line.endswith("  yes") for line in lines)


async def test_a_sidecar_that_stops_is_not_listed_any_more(terminal):
    """An orderly stop removes the sidecar from the list at once."""
    async with terminal.sidecars(1):
        pass

    _, out, _ = await terminal.run("sidecars")

    assert out == "no sidecar is running\n"


async def test_a_dead_sidecar_is_listed_as_lost_and_then_no_more(terminal, own_silence, valkey):
    """A dead sidecar stays in the list while it could serve cached keys."""
    terminal.set(lease="300ms", grace="10m")
    async with terminal.sidecars(1) as [deaf]:
        instance = own_silence(deaf)
        seen = await eventually(lambda: find(terminal, "no: not heard for "))
        assert instance in seen
        name = stored.sidecar(instance)  # how long ago it spoke is seen by how long that is kept
        valkey.admin.pexpire(name, valkey.admin.pttl(name) - 600_000)
        await eventually(lambda: find(terminal, "no sidecar is running"))


async def find(terminal, wanted):
    """Return the list as soon as it fits the condition."""
    _, out, _ = await terminal.run("sidecars")
    return out if wanted in out else ""
