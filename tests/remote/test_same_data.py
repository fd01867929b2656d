"""Usage, sidecars and the audit trail over the admin API: the numbers of the store."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.settings import model
from authz.wiring.sidecar import sidecar
from tests.support.cli.terminal import run
from tests.support.real import Valkey, eventually
from tests.support.rpc.admin_command import AdminCommand
from tests.support.storage import stored
from tests.support.usage import line
from tests.support.usage_counting import DAY, count_entries

SINCE = re.compile(r'"(since|until)": "[^"]*"|\d{4}-\S+Z to \d{4}-\S+Z|\d+ seconds? ago')
CHANGING = {"silent_ms", "reason"}


@pytest.fixture
def over(store: Path) -> Iterator[tuple[str, ...]]:
    """The options for a running admin API, with the key of an administrator in a file."""
    done = run("keys", "issue", "--client", "ops", "--scope", "authz:admin")
    (store / "token").write_text(done.out)
    with AdminCommand(None, store) as server:
        yield ("--admin", server.address, "--admin-token-file", str(store / "token"))


def issue(client: str) -> str:
    """Issue a key. Return its kid."""
    return run("keys", "issue", "--client", client, "--json").document["kid"]


def test_usage(over: tuple[str, ...], valkey: Valkey) -> None:
    """Reports by time, route and status, the most used keys and the latest use are the same."""
    now = time.time_ns() // 1_000_000
    first, second = issue("a"), issue("b")
    denied = {"code": "403", "reason": "revoked", "flags": "UAEX", "charged": "-"}
    entries = [
        line(kid=kid, started=now - ago * DAY, milliseconds="0", **other)
        for kid, ago, other in (
            (first, 0, {"charged": "5", "route": "chat"}),
            (first, 3, denied),
            (first, 20, {"code": "502"}),
            (second, 0, {}),
        )
    ]
    asyncio.run(count_entries(valkey.endpoint, entries, now))
    for command in (
        *("usage", "usage --json", "usage --by route --json", "usage --by status --since 7d"),
        *("usage --by route --since 8d --json", "usage --by minute", "usage --by month --csv"),
        *(f"usage --key {first}", f"usage --key {first} --json --by hour --since 30d"),
        *(f"usage --key {first} --by route --since 21d --csv", "usage --client a --json"),
        *("usage --client a --by route", "usage --month --json", "usage top", "usage top --json"),
        *("usage top --by denied --since 5d --limit 1", f"keys show {first}"),
        *(f"keys show {first} --json", "keys list --columns kid,last-used,requests-30d --json"),
    ):
        by_store, by_api = run(*command.split()), run(*command.split(), *over)
        assert by_store.code == by_api.code == 0, command
        told = [SINCE.sub("", done.out).partition('"cost"')[0] for done in (by_store, by_api)]
        assert told[0] == told[1], command
    assert "chat" in run("usage", "--by", "route", *over).out
    erased = run("usage", "erase", "--key", first, "--json", *over)
    assert erased.document["erased"] > 0
    assert run("usage", "erase", "--key", first, "--json").document["erased"] == 0


def test_keys_of_many_bytes(over: tuple[str, ...]) -> None:
    """A list of more than 4 MiB, the bound of gRPC for one message, comes in smaller pages."""
    host = ".".join(("a" * 60, "b" * 60, "c" * 60))
    fat = {
        "metadata": {f"m{at}": "v" * 256 for at in range(32)},
        "host": [f"{host}.h{at}.example.com" for at in range(90)],
    }
    entries = ({"key": f"sk-{at:0>20}", "client": "fat", **fat} for at in range(180))
    text = "".join(f"{json.dumps(entry)}\n" for entry in entries)
    assert run("keys", "import", stdin=text.encode()).code == 0
    first = run("keys", "list", "--client", "fat", "--limit", "1000", "--json", *over)
    assert first.code == 0
    assert 0 < len(first.document["keys"]) < 180
    assert first.document["next"]
    for command in ("keys list --client fat --all", "keys disable --client fat --dry-run"):
        assert run(*command.split(), *over) == run(*command.split())


def test_a_verification_of_the_trail(over: tuple[str, ...]) -> None:
    """The trail is verified with the same result; expiries and copies need the store's machine."""
    kid = issue("a")
    assert run("keys", "revoke", kid).code == 0
    assert run("audit", "seal").code == 0
    for options in ((), ("--json",), ("--unmarked-until", "1", "--max-unsealed", "1h")):
        by_store, by_api = run("audit", "verify", *options), run("audit", "verify", *options, *over)
        assert by_store.code == 0
        assert by_api == by_store
    for command in (
        *("audit verify --file copy", "audit verify --copy copy"),
        *("audit list --action expire", "audit list --action restore"),
    ):
        assert run(*command.split(), *over).code == 2


def test_an_entry_that_no_sidecar_wrote(over: tuple[str, ...], valkey: Valkey) -> None:
    """An entry without a seal is listed with the reason, and without a time since its start."""
    valkey.admin.set(stored.sidecar("web-1"), json.dumps({"lease_ms": 1000}), px=60_000)
    valkey.admin.zadd(stored.SIDECARS, {"web-1": time.time() * 1000})
    by_store, by_api = run("sidecars"), run("sidecars", *over)
    assert "no: its entry has no seal" in by_store.out
    assert by_api == by_store


def test_sidecars(over: tuple[str, ...]) -> None:
    """A running sidecar is listed with the same values, and --wait waits for it."""
    settings = model.load(
        None, {"check": {"listen": "127.0.0.1:0"}, "ops": {"listen": "127.0.0.1:0"}}
    )

    async def work() -> None:
        async with sidecar(settings) as running:
            await eventually(lambda: running.partitions[0].feed.health().trusted)
            by_store = (await asyncio.to_thread(run, "sidecars", "--json")).document
            by_api = (await asyncio.to_thread(run, "sidecars", "--json", *over)).document
            assert by_store["seq"] == by_api["seq"] == 1
            (one,), (other,) = by_store["sidecars"], by_api["sidecars"]
            assert {k: v for k, v in one.items() if k not in CHANGING} == {
                k: v for k, v in other.items() if k not in CHANGING
            }
            kid = await asyncio.to_thread(issue, "a")
            done = await asyncio.to_thread(run, "keys", "revoke", kid, "--wait", "--json", *over)
            found = json.loads(done.out)["confirmation"]
            assert (found["complete"], found["sidecars"], found["confirmed"]) == (True, 1, 1)
            await asyncio.to_thread(issue, "b")
            many = ("keys", "disable", "--client", "b", "--yes", "--wait", *over)
            done = await asyncio.to_thread(run, *many)
            assert "1 of 1 sidecars confirmed" in done.out

    asyncio.run(work())
