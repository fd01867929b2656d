"""`authz keys import`: what is taken, what is refused and how that is told."""

import errno
import io
import json
import os
import pty
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from authz.cli.importline import MAX_LINE
from authz.cli.main import main
from tests.cli.terminal import AUTHZ, PATIENCE, Outcome, run
from tests.fakes import make_keyring
from tests.real import Valkey

FOREIGN = "sk-0123456789abcdef"


def line(number: int = 0, **fields: Any) -> str:
    """One line of an import."""
    return json.dumps({"key": f"foreign-key-{number:08}", "client": "acme-web"} | fields)


@pytest.fixture
def importing(store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run an import of lines or bytes in this process."""

    def act(given: list[str] | bytes, *options: str) -> Outcome:
        raw = given if isinstance(given, bytes) else "".join(f"{one}\n" for one in given).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return run("keys", "import", *options)

    return act


def stored(valkey: Valkey) -> int:
    """How many keys there are."""
    return valkey.admin.zcard("authz:{0}:keys")


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
        "metadata": {"was": "17", "a=b": "c"},
    }
    refused = importing([json.dumps(asked)])
    assert "line 1: metadata: " in refused.err
    del asked["metadata"]["a=b"]
    outcome = importing([json.dumps(asked)], "--note", "moving house")
    assert (outcome.code, outcome.out) == (0, "imported 1, already there 0, refused 0\n")
    [kid] = valkey.admin.zrange("authz:{0}:keys", 0, -1)
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
        "metadata": {"was": "17"},
    }.items():
        assert record[name] == value, name
    [(_, event)] = valkey.admin.xrange("authz:{0}:audit")
    assert (event["action"], event["actor"], event["note"]) == ("import", "tests", "moving house")
    assert valkey.admin.hget("authz:meta", "imports") == "1"
    dumps = [valkey.admin.dump(name) for name in valkey.admin.keys("*")]
    assert not any(FOREIGN.encode() in dump for dump in map(_bytes, dumps))


def _bytes(dump: Any) -> bytes:
    return dump if isinstance(dump, bytes) else dump.encode("utf-8", "surrogateescape")


def test_a_second_run_goes_on(importing, valkey: Valkey) -> None:
    """What is there already is counted apart, and nothing is made twice."""
    importing([line(number) for number in range(250)])
    outcome = importing([line(number) for number in range(300)], "--json")
    assert outcome.code == 0
    assert outcome.document == {
        "imported": 50,
        "already_there": 250,
        "refused": 0,
        "dry_run": False,
    }
    assert stored(valkey) == 300


def test_a_dry_run_writes_nothing(importing, valkey: Valkey) -> None:
    """It says what would be done, also of what is there already."""
    importing([line(0)])
    valkey.admin.hdel("authz:meta", "imports")
    before = stored(valkey), valkey.admin.get("authz:{0}:seq")
    outcome = importing([line(0), line(1), "nonsense"], "--dry-run")
    assert (outcome.code, outcome.out) == (1, "would import 1, already there 1, refused 1\n")
    assert (stored(valkey), valkey.admin.get("authz:{0}:seq")) == before
    assert not valkey.admin.hexists("authz:meta", "imports")


REFUSED = {
    "no JSON": (b"nonsense", "the line"),
    "no object": (b"[1]", "the line"),
    "two objects": (b'{"key":"a"} {"key":"b"}', "the line"),
    "a name twice": (b'{"key": "%s", "key": "a"}' % FOREIGN.encode(), "the line"),
    "binary": (bytes(range(256)).replace(b"\n", b""), "the line"),
    "NULs": (b"\0" * 100, "the line"),
    "deep": (b"[" * 60_000, "the line"),
    "a number without end": (b'{"key": ' + b"9" * 10_000 + b"}", "the line"),
    "10 MB": (b'{"key": "' + b"a" * 10_000_000 + b'"}', "the line"),
    "a field too many": (line(colour="red").encode(), "the line"),
    "no key": (b'{"client": "a"}', "key"),
    "no client": (line(client=None).encode(), "client"),
    "a key of null": (line(key=None).encode(), "key"),
    "a key that is no text": (line(key=17).encode(), "key"),
    "a short key": (line(key="a" * 15).encode(), "key"),
    "a long key": (line(key="a" * 257).encode(), "key"),
    "a key with a comma": (line(key=f"{FOREIGN},").encode(), "key"),
    "a key with a line feed": (line(key=f"{FOREIGN}\n").encode(), "key"),
    "a native key": (line(key=make_keyring().mint("live").text).encode(), "key"),
    "our start": (line(key="ak_test_0123456789").encode(), "key"),
    "the key as its name, too": (line(name="foreign-key-00000000").encode(), "key"),
    "a client with a blank": (line(client="a b").encode(), "client"),
    "a project that is no text": (line(project=["a"]).encode(), "project"),
    "an environment": (line(env="prod").encode(), "env"),
    "scopes in one text": (line(scope="a b").encode(), "scope"),
    "a scope that is no text": (line(scope=["a", 1]).encode(), "scope"),
    "a host with a port": (line(host=["a:1"]).encode(), "host"),
    "an origin": (line(origin={"a": 1}).encode(), "origin"),
    "a block with host bits": (line(cidr=["10.0.0.1/8"]).encode(), "cidr"),
    "no life": (line(expires_in="0").encode(), "expires_in"),
    "a life without a unit": (line(expires_in="90").encode(), "expires_in"),
    "a day": (line(not_before="tomorrow").encode(), "not_before"),
    "an end before the beginning": (line(not_before="91d").encode(), "expires_in"),
    "metadata in a list": (line(metadata=["a=b"]).encode(), "metadata"),
    "metadata that is no text": (line(metadata={"a": 1}).encode(), "metadata"),
    "a limit": (line(limit="10/s").encode(), "limit"),
    "a plan": (line(plan="gold").encode(), "plan"),
}


@pytest.mark.parametrize(("raw", "field"), REFUSED.values(), ids=REFUSED)
def test_a_line_that_cannot_be_imported(importing, valkey: Valkey, raw, field) -> None:
    """It is refused by its number and field, without a value of it; the others are imported."""
    given = b"\n".join([line(1).encode(), b"", raw, line(2).encode()])
    outcome = importing(given, "--rejects", "rejects.jsonl")
    assert (outcome.code, outcome.out) == (1, "imported 2, already there 0, refused 1\n")
    [told] = outcome.err.splitlines()
    assert told.startswith(f"line 3: {field}: ")
    assert len(told) < 300
    [reject] = map(json.loads, Path("rejects.jsonl").read_text().splitlines())
    assert (reject["line"], reject["field"]) == (3, field)
    for shown in (told, json.dumps(reject)):
        assert "foreign" not in shown
        assert FOREIGN not in shown
    assert stored(valkey) == 2


def test_fields_that_were_mixed_up(importing) -> None:
    """A key that stands where something else belongs is not shown."""
    secret = "sk/0123456789+abcdef="
    for name in ("client", "project", "env", "scope", "host", "cidr", "expires_in", "not_before"):
        outcome = importing([line(**{name: secret})], "--rejects", "rejects.jsonl")
        assert outcome.code == 1
        assert "0123456789" not in outcome.err + outcome.out + Path("rejects.jsonl").read_text()
    assert "0123456789" not in importing([json.dumps({"client": "a", secret: "key"})]).err


def test_the_same_key_twice(importing, valkey: Valkey) -> None:
    """A second line with a key is refused and names the first: it may ask for something else."""
    outcome = importing([line(1), line(2), line(1, client="other"), line(1)])
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        "line 3: key: is the same as in line 1",
        "line 4: key: is the same as in line 1",
    ]
    assert stored(valkey) == 2


def test_many_refusals(importing) -> None:
    """The first twenty are shown and the rest counted; the file has them all, for its owner."""
    Path("rejects.jsonl").write_text("what was here before\n")
    outcome = importing([line(client="a b")] * 30, "--rejects", "rejects.jsonl")
    told = outcome.err.splitlines()
    assert told[0].startswith("line 1: client: has to be 1 to 128 of")
    assert told[20] == "and 10 more; --rejects FILE has them all"
    assert len(told) == 21
    rejects = [json.loads(one) for one in Path("rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == list(range(1, 31))
    importing(["nonsense"], "--rejects", "new.jsonl")
    assert stat.S_IMODE(Path("new.jsonl").stat().st_mode) == 0o600


def test_a_line_of_just_the_longest_length(importing) -> None:
    """The bound is on the bytes of a line, its end included."""
    text = line(1)
    fits = text + " " * (MAX_LINE - len(text) - 1)
    assert importing([fits]).code == 0
    assert importing([fits + " "]).code == 1


@pytest.mark.parametrize("given", [b"", b"\n\n", b"   \r\n"])
def test_nothing_to_import(importing, valkey: Valkey, given) -> None:
    """Nothing is no error, and no reason to look imported keys up."""
    outcome = importing(given)
    assert (outcome.code, outcome.out) == (0, "imported 0, already there 0, refused 0\n")
    assert not valkey.admin.hexists("authz:meta", "imports")


@pytest.mark.parametrize("path", [".", "none/there", "a\0b", ""])
def test_a_file_for_rejects_that_cannot_be_made(importing, path) -> None:
    """It is named before anything is imported."""
    outcome = importing([line()], "--rejects", path)
    if path:
        assert outcome.code == 2
        assert outcome.error.startswith("authz: --rejects: ")
    else:
        assert outcome.code == 0


def test_closed_stdin(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without stdin there is nothing to wait for."""
    monkeypatch.setattr(sys, "stdin", None)
    outcome = run("keys", "import")
    assert outcome.code == 2
    assert outcome.error == "authz: stdin: is closed; give a file, such as < keys.jsonl"


def test_stdin_that_cannot_be_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read is told in one line."""

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
    """Without a pepper, and then without a store, nothing is read."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line().encode())))
    assert run("keys", "import").code == 2
    Path("authz-pepper-1").write_text("1" * 64)
    outcome = run("keys", "import")
    assert outcome.code == 3
    assert outcome.error.startswith("authz: the store cannot be used")


def test_a_store_that_goes_away(importing, valkey: Valkey) -> None:
    """What was imported so far is told, and that it can be run again."""
    lines = [line(number) for number in range(150)]
    importing(lines[:120])
    valkey.admin.rpush("authz:{0}:client:broken", "no sorted set")
    outcome = importing([*lines, line(900, client="broken")])
    assert outcome.code == 3
    assert outcome.out == ""
    told, error = outcome.err.splitlines()
    assert told == "imported 0, already there 100, refused 0; run it again to go on"
    assert "WRONGTYPE" in error
    valkey.admin.delete("authz:{0}:client:broken")
    assert importing([*lines, line(900, client="broken")]).code == 0
    assert stored(valkey) == 151


def test_ctrl_c(store: Path, valkey: Valkey) -> None:
    """What was imported stays and is told; a second run goes on."""
    command = subprocess.Popen(
        [*AUTHZ, "keys", "import", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    command.stdin.write("".join(f"{line(number)}\n" for number in range(250)).encode())
    command.stdin.flush()
    while stored(valkey) < 200:
        assert command.poll() is None
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == 130
    assert json.loads(out)["imported"] == stored(valkey) == 200
    assert err.decode() == "interrupted; run it again to go on\n"


def test_a_bar_on_a_terminal_only(store: Path) -> None:
    """A person at a terminal sees a bar on stderr; stdout has the report alone."""
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
    assert (done.returncode, done.stdout) == (0, b"imported 10, already there 0, refused 0\n")
    assert "importing" in seen
    assert "100%" in seen


def test_an_imported_key_has_no_native_look_alike(importing) -> None:
    """Keys that begin almost like ours are somebody else's."""
    texts = ["ak_prod_0123456789", "AK_live_0123456789", "ak_live0123456789", "xak_live_0123456789"]
    assert importing([json.dumps({"key": text, "client": "a"}) for text in texts]).code == 0


def test_rotation_of_an_imported_key(importing, valkey: Valkey) -> None:
    """It gets a native second secret, shown once like any other."""
    importing([line()])
    [kid] = valkey.admin.zrange("authz:{0}:keys", 0, -1)
    rotated = run("keys", "rotate", kid, "--json").document
    assert rotated["key"].startswith(f"ak_live_{kid}_")
    assert len(rotated["record"]["secrets"]) == 2


def test_help_teaches() -> None:
    """The help names the fields and shows a line."""
    outcome = run("keys", "import", "--help")
    assert outcome.code == 0
    assert '{"key": "sk-0123456789abcdef", "client": "acme-web"}' in outcome.out
    assert main(["keys", "--help"]) == 0
