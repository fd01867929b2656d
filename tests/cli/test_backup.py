"""`authz backup`, `authz restore`, and `authz init` on a store that lost its data."""

import asyncio
import json
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest

from authz.settings.model import Settings
from authz.storage.backup import Contents
from authz.wiring import backups
from tests.support.cli.terminal import AUTHZ, run
from tests.support.real import Valkey
from tests.support.storage import stored
from tests.support.system import until

FILE = "authz.backup"
STATE = ".authz-pepper-1.state"


def issue() -> dict[str, str]:
    """Issue a key and return its document."""
    return run("keys", "issue", "--client", "acme-web", "--json").document


def test_there_and_back(store: Path, valkey: Valkey) -> None:
    """After a restore a key has its kid, its version and its history, and its secret verifies."""
    key = issue()
    before = run("keys", "history", key["kid"], "--json").document
    made = run("backup", FILE, "--json").document
    assert (made["records"], made["audit"], made["seq"]) == (1, 1, 1)
    assert made["bytes"] == os.stat(FILE).st_size
    assert stat.S_IMODE(os.stat(FILE).st_mode) == 0o600

    valkey.admin.flushall()
    refused = run("keys", "show", key["kid"])
    assert refused.code == 3
    done = run("restore", FILE, "--json")
    assert (done.code, done.document["seq"], done.document["lost_changes"]) == (0, 2, 0)
    assert run("keys", "history", key["kid"], "--json").document == before
    assert run("keys", "show", key["kid"], "--json").document["version"] == 1
    assert valkey.admin.get(stored.SEQ) == "2"
    assert key["key"] not in Path(FILE).read_text()


def test_a_restore_brings_back_no_signing_key(
    store: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restore the exchange says how to make a signing key, and works when it is made."""
    monkeypatch.setenv("AUTHZ_TOKENS__ISSUER", "https://auth.example.com")
    key, made = issue(), run("tokens", "keys", "rotate", "--now", "--json")
    assert made.code == 0, made.error
    exchanged = until(
        lambda: run("tokens", "issue", stdin=key["key"].encode()), lambda done: not done.code
    )
    token = exchanged.out.strip()
    run("backup", FILE)
    valkey.admin.flushall()
    done = run("restore", FILE)
    assert "authz tokens keys rotate" in done.out
    assert run("tokens", "keys", "list", "--json").document == {"keys": []}
    refused = run("tokens", "issue", stdin=key["key"].encode())
    assert refused.code == 3
    assert "authz tokens keys rotate" in refused.error

    run("tokens", "keys", "rotate")
    again = until(
        lambda: run("tokens", "issue", stdin=key["key"].encode()), lambda done: not done.code
    )
    assert again.code == 0, again.error
    found = run("tokens", "inspect", "--json", stdin=again.out.strip().encode())
    assert found.document["accepted"] is True
    assert run("tokens", "inspect", "--json", stdin=token.encode()).document["accepted"] is False


def test_a_file_that_exists(store: Path) -> None:
    """A backup never overwrites a file."""
    Path(FILE).write_text("mine")
    outcome = run("backup", FILE)
    assert outcome.code == 2
    assert "exists already" in outcome.error
    assert Path(FILE).read_text() == "mine"


def test_two_backups_to_one_name(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is complete first stays as it is, the other one gets an error."""
    issue()
    original, outcomes, first = backups.back_up, [], []

    async def overtaken(settings: Settings, out: BinaryIO) -> Contents:
        found = await original(settings, out)
        monkeypatch.setattr(backups, "back_up", original)
        outcomes.append(await asyncio.to_thread(run, "backup", FILE))
        first.append(Path(FILE).read_bytes())
        return found

    monkeypatch.setattr(backups, "back_up", overtaken)
    outcomes.append(run("backup", FILE))
    assert [outcome.code for outcome in outcomes] == [0, 2]
    assert "exists already" in outcomes[1].error
    assert [Path(FILE).read_bytes()] == first
    assert set(os.listdir(store)) == {STATE, FILE, "authz-pepper-1"}


def test_a_link_where_a_draft_could_be(store: Path) -> None:
    """A link that waits under a name made from FILE is not followed, and stays."""
    Path("victim").write_text("precious")
    os.symlink("victim", f"{FILE}.part")
    assert run("backup", FILE).code == 0
    assert Path("victim").read_text() == "precious"
    assert not Path(FILE).is_symlink()
    assert stat.S_IMODE(os.stat(FILE).st_mode) == 0o600


def test_a_backup_that_fails_leaves_no_file(no_store: Path) -> None:
    """If the store cannot be reached, no file remains."""
    (no_store / "authz-pepper-1").write_text("0" * 64)
    assert run("backup", FILE).code == 3
    assert os.listdir(no_store) == ["authz-pepper-1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_backup_that_is_ended_leaves_no_file(
    store: Path, own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """A timer that ends a backup while it waits for the store fills no disk."""
    monkeypatch.setenv("AUTHZ_REDIS__URL", own_valkey.url)
    assert run("init").code == 0
    own_valkey.pause()
    process = subprocess.Popen([*AUTHZ, "backup", FILE], stderr=subprocess.PIPE)
    try:
        until(lambda: list(store.glob(f".{FILE}.*")), bool)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        own_valkey.resume()
    assert (process.returncode, err.strip()) == (130, b"")
    assert list(store.glob(f"*{FILE}*")) == list(store.glob(f".{FILE}*")) == []


def test_a_store_with_keys(store: Path) -> None:
    """A restore onto a store with keys is refused, and asks for a backup of them first."""
    issue()
    run("backup", FILE)
    outcome = run("restore", FILE)
    assert outcome.code == 1
    assert "not empty" in outcome.error
    assert outcome.error.index("authz backup") < outcome.error.index("FLUSHDB")


def test_a_file_that_was_restored_already(store: Path, valkey: Valkey) -> None:
    """A second restore changes nothing, and does not ask to empty the store."""
    issue()
    run("backup", FILE)
    valkey.admin.flushall()
    assert run("restore", FILE).code == 0
    issue()
    before = valkey.admin.get(stored.SEQ)
    again = run("restore", FILE)
    assert (again.code, again.error) == (
        1,
        f"authz: {FILE}: it was restored here before, to its end; nothing was changed",
    )
    assert valkey.admin.get(stored.SEQ) == before


def test_a_backup_from_a_pipe(store: Path, valkey: Valkey) -> None:
    """A pipe cannot be read twice. It is refused by name."""
    run("backup", FILE)
    valkey.admin.flushall()
    end, other = os.pipe()
    os.close(other)
    try:
        outcome = run("restore", f"/dev/fd/{end}")
    finally:
        os.close(end)
    assert (outcome.code, outcome.error.partition(": ")[2]) == (
        2,
        f"FILE: /dev/fd/{end} is a pipe, and a restore reads its file twice",
    )
    assert valkey.admin.dbsize() == 0


@pytest.mark.parametrize("damage", ["cut", "altered", "missing"])
def test_a_bad_file(store: Path, valkey: Valkey, damage: str) -> None:
    """A damaged file is refused by its line, and nothing is written."""
    issue()
    run("backup", FILE)
    content = Path(FILE).read_bytes()
    if damage == "cut":
        Path(FILE).write_bytes(content[:-10])
    elif damage == "altered":
        Path(FILE).write_bytes(content.replace(b"acme-web", b"acme-evi"))
    else:
        os.unlink(FILE)
    valkey.admin.flushall()
    outcome = run("restore", FILE)
    assert outcome.code == (2 if damage == "missing" else 1)
    assert ("No such file" if damage == "missing" else "line ") in outcome.error
    assert valkey.admin.dbsize() == 0


def test_init_on_a_store_that_lost_its_data(store: Path, valkey: Valkey) -> None:
    """`init` refuses a store that it has set up and that is empty now; --new-store sets it up."""
    issue()
    run("backup", FILE)
    valkey.admin.flushall()
    refused = run("init")
    assert refused.code == 1
    assert "data is gone: it was at change 1 or later; restore it" in refused.error
    assert "--new-store" in refused.error
    assert valkey.admin.dbsize() == 0

    asked = run("init", "--new-store")
    assert asked.code == 2
    assert "--yes" in asked.error
    assert run("init", "--new-store", "--yes").code == 0
    assert json.loads((store / STATE).read_text())["change"] == 0
    assert run("init").code == 0


@pytest.mark.parametrize("options", [(), ("--new-store", "--yes")])
def test_init_on_a_half_restored_store(
    empty_store: Path, valkey: Valkey, options: tuple[str, ...]
) -> None:
    """`init` refuses a store with the marker of a restore, and makes no pepper."""
    valkey.admin.set(stored.RESTORING, "1-1-1-1")
    refused = run("init", *options)
    assert refused.code == 1
    assert "a restore was interrupted or is running: run `authz restore` again" in refused.error
    assert valkey.admin.keys("*") == [stored.RESTORING]
    assert not (empty_store / "authz-pepper-1").exists()


def test_init_where_sidecars_saw_changes(empty_store: Path, valkey: Valkey) -> None:
    """`init` refuses an empty store if a registered sidecar has seen a change."""
    entry = {
        "instance": "web-1", "version": "1", "address": "x", "started_at": 1, "applied": None,
        "lease_ms": 1000, "grace_ms": 0, "trusted": False, "reason": "", "entries": 0, "seen": 415,
    }  # fmt: skip
    valkey.admin.set(stored.sidecar("web-1"), json.dumps(entry), px=60_000)
    valkey.admin.zadd(stored.SIDECARS, {"web-1": 1})
    refused = run("init")
    assert refused.code == 1
    assert "it was at change 415" in refused.error
    assert not (empty_store / "authz-pepper-1").exists()
    assert run("init", "--new-store", "--yes").code == 0


def test_init_for_another_store(store: Path, valkey: Valkey) -> None:
    """The state file is about one store; another store may be set up with the same pepper."""
    with Valkey() as other:
        assert run("init", "--redis", other.url).code == 0


def test_the_restored_sequence_is_above_the_known_one(store: Path, valkey: Valkey) -> None:
    """A restore counts the changes that are lost and continues above them."""
    issue()
    run("backup", FILE)
    document = json.loads((store / STATE).read_text())
    (store / STATE).write_text(json.dumps(document | {"change": 415}))
    valkey.admin.flushall()
    done = run("restore", FILE)
    assert done.code == 0
    assert "414 later changes are lost, up to change 415" in done.out
    assert issue()["record"]["version"] == 417
