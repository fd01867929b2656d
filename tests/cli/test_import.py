"""`authz keys import`: accepted lines, interruptions and reports."""

import errno
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from authz.cli.importing import BATCH
from authz.cli.json_lines import MAX_LINE
from authz.cli.main import main
from tests.support.cli.importing import FOREIGN, line, stored
from tests.support.cli.terminal import AUTHZ, PATIENCE, run
from tests.support.real import Valkey
from tests.support.storage.stored import audit_rows
from tests.support.storage.stored import kids as stored_kids


def test_keys_are_imported(importing, valkey: Valkey) -> None:
    """Every field of a line reaches the record; the key itself is nowhere in the store."""
    asked = {
        "key": FOREIGN,
        "client": "acme-web",
        "project": "web",
        "tenant": "t-1",
        "name": "the old key",
        "env": "test",
        "scope": ["models:read", "models:list"],
        "host": "api.example.com",
        "origin": ["https://app.example.com"],
        "cidr": ["10.0.0.0/8"],
        "expires_in": "never",
        "not_before": "2026-12-01T00:00:00Z",
        "outage_grace": "30s",
        "metadata": {"was": "17", "a=b": "c"},
    }
    refused = importing([json.dumps(asked)])
    assert "line 1: metadata: " in refused.err
    del asked["metadata"]["a=b"]
    outcome = importing([json.dumps(asked)], "--note", "moving house")
    assert (outcome.code, outcome.out) == (
        0,
        "imported 1, already there 0, refused 0; 1 never expires\n",
    )
    [kid] = stored_kids(valkey.admin)
    record = run("keys", "show", kid, "--json").document
    for name, value in {
        "client_id": "acme-web",
        "project_id": "web",
        "tenant_id": "t-1",
        "name": "the old key",
        "env": "test",
        "scopes": ["models:list", "models:read"],
        "allowed_hosts": ["api.example.com"],
        "allowed_origins": ["https://app.example.com"],
        "allowed_cidrs": ["10.0.0.0/8"],
        "expires_at": None,
        "not_before": "2026-12-01T00:00:00.000Z",
        "outage_grace": "30s",
        "metadata": {"was": "17"},
    }.items():
        assert record[name] == value, name
    [(_, event)] = audit_rows(valkey.admin)
    assert (event["action"], event["actor"], event["note"]) == ("import", "tests", "moving house")
    assert valkey.admin.hget("authz:meta", "imports") == "1"
    dumps = [valkey.admin.dump(name) for name in valkey.admin.keys("*")]
    assert not any(FOREIGN.encode() in dump for dump in map(_bytes, dumps))


def _bytes(dump: Any) -> bytes:
    return dump if isinstance(dump, bytes) else dump.encode("utf-8", "surrogateescape")


def test_a_second_run_goes_on(importing, valkey: Valkey) -> None:
    """A second run counts the existing keys apart and makes nothing twice."""
    importing([line(number) for number in range(250)])
    outcome = importing([line(number) for number in range(300)], "--json")
    assert outcome.code == 0
    document = outcome.document
    rows = document.pop("rows")
    assert document == {
        "imported": 50,
        "already_there": 250,
        "refused": 0,
        "conflicts": 0,
        "never_expire": 50,
        "dry_run": False,
    }
    assert [row["line"] for row in rows] == list(range(1, 301))
    assert {row["kid"] for row in rows} == set(stored_kids(valkey.admin))
    assert [row["outcome"] for row in rows] == ["already_there"] * 250 + ["imported"] * 50
    assert stored(valkey) == 300


def test_a_dry_run_writes_nothing(importing, valkey: Valkey) -> None:
    """A dry run prints the counts of a real run and writes nothing."""
    importing([line(0)])
    valkey.admin.hdel("authz:meta", "imports")
    before = stored(valkey), valkey.admin.get("authz:{0}:seq")
    outcome = importing([line(0), line(1), "nonsense"], "--dry-run")
    assert (outcome.code, outcome.out) == (
        1,
        "would import 1, already there 1, refused 1; 1 never expires\n",
    )
    assert (stored(valkey), valkey.admin.get("authz:{0}:seq")) == before
    assert not valkey.admin.hexists("authz:meta", "imports")


def test_a_line_of_just_the_longest_length(importing) -> None:
    """The bound is on the bytes of a line, including its newline."""
    text = line(1)
    fits = text + " " * (MAX_LINE - len(text) - 1)
    assert importing([fits]).code == 0
    assert importing([fits + " "]).code == 1


@pytest.mark.parametrize("given", [b"", b"\n\n", b"   \r\n"])
def test_nothing_to_import(importing, valkey: Valkey, given) -> None:
    """Empty input is no error, and sidecars need not look up imported keys."""
    outcome = importing(given)
    assert (outcome.code, outcome.out) == (0, "imported 0, already there 0, refused 0\n")
    assert not valkey.admin.hexists("authz:meta", "imports")


@pytest.mark.parametrize("path", [".", "none/there", "a\0b", ""])
def test_a_file_for_rejects_that_cannot_be_made(importing, path) -> None:
    """An impossible rejects file is refused before the import."""
    outcome = importing([line()], "--rejects", path)
    assert outcome.code == 2
    assert outcome.error.startswith("authz: --rejects: ")


def test_closed_stdin(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed stdin is refused at once."""
    monkeypatch.setattr(sys, "stdin", None)
    outcome = run("keys", "import")
    assert outcome.code == 2
    assert outcome.error == "authz: stdin: is closed; give a file, such as < keys.jsonl"


def test_stdin_that_cannot_be_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable stdin gives one line."""

    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _buffer: Any) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Broken())))
    outcome = run("keys", "import")
    assert outcome.code == 2
    assert outcome.error.startswith("authz: stdin: Input/output error; ")


def test_no_store(no_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pepper or a store no line is read."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line().encode())))
    assert run("keys", "import").code == 2
    Path("authz-pepper-1").write_text("1" * 64)
    outcome = run("keys", "import")
    assert outcome.code == 3
    assert outcome.error.startswith("authz: the store cannot be used")


def test_a_store_that_goes_away(importing, valkey: Valkey) -> None:
    """The error tells the count so far, and that the import can be run again."""
    lines = [line(number) for number in range(BATCH + 50)]
    importing(lines[: BATCH + 20])
    valkey.admin.rpush("authz:{0}:client:broken", "no sorted set")
    outcome = importing([*lines, line(900, client="broken")])
    assert outcome.code == 3
    assert outcome.out == ""
    told, error = outcome.err.splitlines()
    assert told == f"imported 0, already there {BATCH}, refused 0; run it again to continue"
    assert "WRONGTYPE" in error
    valkey.admin.delete("authz:{0}:client:broken")
    assert importing([*lines, line(900, client="broken")]).code == 0
    assert stored(valkey) == BATCH + 51


def test_ctrl_c(store: Path, valkey: Valkey) -> None:
    """Ctrl-C keeps and reports the imported keys. A second run continues."""
    command = subprocess.Popen(
        [*AUTHZ, "keys", "import", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    command.stdin.write("".join(f"{line(number)}\n" for number in range(2 * BATCH + 50)).encode())
    command.stdin.flush()
    while stored(valkey) < 2 * BATCH:
        assert command.poll() is None
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == 130
    assert json.loads(out)["imported"] == stored(valkey) == 2 * BATCH
    assert err.decode() == "interrupted; run it again to continue\n"


def test_a_bar_on_a_terminal_only(store: Path) -> None:
    """A terminal shows a progress bar on stderr. Stdout has only the report."""
    Path("keys.jsonl").write_text("".join(f"{line(number)}\n" for number in range(10)))
    ours, theirs = pty.openpty()
    with Path("keys.jsonl").open("rb") as source:
        done = subprocess.run(
            [*AUTHZ, "keys", "import"],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=PATIENCE,
            check=False,
        )
    os.close(theirs)
    seen = os.read(ours, 65_536).decode()
    os.close(ours)
    assert (done.returncode, done.stdout) == (
        0,
        b"imported 10, already there 0, refused 0; 10 never expire\n",
    )
    assert "importing" in seen
    assert "100%" in seen


def test_an_imported_key_has_no_native_look_alike(importing) -> None:
    """A key that looks almost like a native one can be imported."""
    texts = ["ak_prod_0123456789", "AK_live_0123456789", "ak_live0123456789", "xak_live_0123456789"]
    assert importing([json.dumps({"key": text, "client": "a"}) for text in texts]).code == 0


def test_rotation_of_an_imported_key(importing, valkey: Valkey) -> None:
    """The rotation of an imported key gives it a native second secret, shown once."""
    importing([line()])
    [kid] = stored_kids(valkey.admin)
    rotated = run("keys", "rotate", kid, "--json").document
    assert rotated["key"].startswith(f"ak_live_{kid}_")
    assert len(rotated["record"]["secrets"]) == 2


def test_help_teaches() -> None:
    """The help names the fields and shows a line."""
    outcome = run("keys", "import", "--help")
    assert outcome.code == 0
    assert '{"key": "sk-0123456789abcdef", "client": "acme-web"}' in outcome.out
    assert main(["keys", "--help"]) == 0
