"""Lines that `authz keys import` refuses, by number and field, without their values."""

import json
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.cli.importing import FOREIGN, line, stored
from tests.support.cli.terminal import AUTHZ, execute
from tests.support.fakes import make_keyring
from tests.support.real import Valkey

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
    "an end before the beginning": (
        line(not_before="91d", expires_in="90d").encode(),
        "expires_in",
    ),
    "two ends": (line(expires_in="90d", expires_at="2030-01-01").encode(), "expires_at"),
    "a day that does not exist": (line(expires_at="2030-02-30").encode(), "expires_at"),
    "an end before it was made": (
        line(created_at="2024-01-01", expires_at="2023-01-01").encode(),
        "expires_at",
    ),
    "never, with a number": (line(never=1).encode(), "never"),
    "made in the future": (line(created_at="2999-01-01").encode(), "created_at"),
    "a status of another system": (line(status="paused").encode(), "status"),
    "a use that is no time": (line(last_used_at="yesterday").encode(), "last_used_at"),
    "a hash of another kind": (line(key=None, sha256="$2b$12$abcdefghijk").encode(), "sha256"),
    "a hash of another length": (line(key=None, sha256="ab" * 20).encode(), "sha256"),
    "a hash of another key": (line(sha256="ab" * 32).encode(), "sha256"),
    "a hash as the key": (line(key="ab" * 32).encode(), "key"),
    "a hash in base64 as the key": (
        line(key="q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=").encode(),
        "key",
    ),
    "a field by both of its names": (line(client_id="b").encode(), "client"),
    "metadata in a list": (line(metadata=["a=b"]).encode(), "metadata"),
    "metadata of two names that become one": (
        line(metadata={"a.b": 1, "a": {"b": 2}}).encode(),
        "metadata",
    ),
    "metadata that is nested too deep": (
        line(metadata={"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}).encode(),
        "metadata",
    ),
    "a grace of two days": (line(outage_grace="2d").encode(), "outage_grace"),
    "a grace that is a number": (line(outage_grace=30).encode(), "outage_grace"),
    "a limit": (line(limit="ten/s").encode(), "limit"),
    "limits of one name": (line(limit=["10/s", "20/s"]).encode(), "limit"),
    "an unknown plan": (line(plan="gold").encode(), "plan"),
    "a word for an outage": (line(on_outage="open").encode(), "on_outage"),
}


@pytest.mark.parametrize(("raw", "field"), REFUSED.values(), ids=REFUSED)
def test_a_line_that_cannot_be_imported(importing, valkey: Valkey, raw, field) -> None:
    """The refusal has the number and the field, but no value. Other lines are imported."""
    given = b"\n".join([line(1).encode(), b"", raw, line(2).encode()])
    outcome = importing(given, "--rejects", "rejects.jsonl")
    assert (outcome.code, outcome.out) == (
        1,
        "imported 2, already there 0, refused 1; 2 never expire\n",
    )
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
    """A key in the wrong field is not shown."""
    secret = "sk/0123456789+abcdef="
    for name in ("client", "project", "env", "scope", "host", "cidr", "expires_in", "not_before"):
        outcome = importing([line(**{name: secret})], "--rejects", "rejects.jsonl")
        assert outcome.code == 1
        assert "0123456789" not in outcome.err + outcome.out + Path("rejects.jsonl").read_text()
        Path("rejects.jsonl").unlink()
    assert "0123456789" not in importing([json.dumps({"client": "a", secret: "key"})]).err


def test_the_same_key_twice(importing, valkey: Valkey) -> None:
    """The second line with a key is refused, and names the first line."""
    outcome = importing([line(1), line(2), line(1, client="other"), line(1)])
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        "line 3: key: is the same as in line 1",
        "line 4: key: is the same as in line 1",
    ]
    assert stored(valkey) == 2


def test_many_refusals(importing) -> None:
    """Stderr shows the first 20 refusals and a count. The file has them all, for its owner only."""
    outcome = importing([line(client="a b")] * 30, "--rejects", "rejects.jsonl")
    told = outcome.err.splitlines()
    assert told[0].startswith("line 1: client: has to be 1 to 128 of")
    assert told[20] == "and 10 more; --rejects FILE has them all"
    assert len(told) == 21
    rejects = [json.loads(one) for one in Path("rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == list(range(1, 31))
    assert stat.S_IMODE(Path("rejects.jsonl").stat().st_mode) == 0o600


def test_rejects_overwrite_nothing(importing, valkey: Valkey) -> None:
    """An existing file or link is not overwritten."""
    Path("keys.jsonl").write_text(line())
    Path("link.jsonl").symlink_to("elsewhere.jsonl")
    for name in ("keys.jsonl", "link.jsonl"):
        outcome = importing([line()], "--rejects", name)
        assert outcome.code == 2
        assert outcome.error == (f"authz: --rejects: '{name}' exists, and is never overwritten")
    assert Path("keys.jsonl").read_text() == line()
    assert not Path("elsewhere.jsonl").exists()
    assert stored(valkey) == 0


def test_rejects_leave_no_empty_file(importing) -> None:
    """Without refusals there is no rejects file."""
    assert importing([line()], "--rejects", "rejects.jsonl").code == 0
    assert not Path("rejects.jsonl").exists()


def test_a_full_disk_ends_it(store: Path) -> None:
    """A full disk ends the import. The file has complete lines, and imported keys stay."""
    given = "".join(f"{text}\n" for text in [*[line()], *["{}"] * 100])
    limited = f"ulimit -f 4; exec {shlex.join(AUTHZ)} keys import --rejects rejects.jsonl"
    done = subprocess.run(
        ["sh", "-c", limited], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == (
        "authz: --rejects: File too large; imported keys stay: run it again with a new file"
    )
    kept = [json.loads(one)["line"] for one in Path("rejects.jsonl").read_text().splitlines()]
    assert kept == list(range(2, len(kept) + 2))
    assert kept


def test_an_import_that_did_not_begin_leaves_no_file(no_store: Path) -> None:
    """An import without a store leaves no rejects file, so the same command can be run again."""
    (no_store / "authz-pepper-1").write_text("0" * 64)
    assert execute("keys", "import", "--rejects", "rejects.jsonl").code == 3
    assert not (no_store / "rejects.jsonl").exists()
