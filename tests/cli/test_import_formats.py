"""`authz keys import`: keys by hash, the formats, and keys that are there in another form."""

import base64
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli.importing import FOREIGN, line, stored
from tests.support.cli.terminal import run
from tests.support.real import Valkey
from tests.support.storage.stored import kids as stored_kids

SHA = hashlib.sha256(FOREIGN.encode())
HASHES = {
    "hexadecimal": SHA.hexdigest(),
    "upper case": SHA.hexdigest().upper(),
    "named": f"sha256:{SHA.hexdigest()}",
    "base64": base64.b64encode(SHA.digest()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(SHA.digest()).decode().rstrip("="),
}


def verified(monkeypatch: pytest.MonkeyPatch, key: str = FOREIGN, *options: str) -> dict[str, Any]:
    """Return the document of `authz keys verify`."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(key.encode())))
    return run("keys", "verify", "--json", *options).document


def record(valkey: Valkey) -> dict[str, Any]:
    """Return the one key of the store."""
    [kid] = stored_kids(valkey.admin)
    return run("keys", "show", kid, "--json").document


@pytest.mark.parametrize("field", ["sha256", "hash", "keyHash"])
@pytest.mark.parametrize("text", HASHES.values(), ids=HASHES)
def test_a_key_by_its_hash(importing, valkey: Valkey, monkeypatch, text, field) -> None:
    """A key that came as its SHA-256 is accepted. The store does not have the hash."""
    outcome = importing([json.dumps({field: text, "client": "acme-web"})])
    assert (outcome.code, outcome.err) == (0, "")
    verdict = verified(monkeypatch)
    assert (verdict["decision"], verdict["client_id"]) == ("allow", "acme-web")
    parts = {row["check"]: row["why"] for row in verdict["checks"]}
    assert parts["checksum"] == parts["tag"] == "none, imported"
    assert verified(monkeypatch, FOREIGN + "x")["reason"] == "unknown_key"
    assert verified(monkeypatch, SHA.hexdigest())["reason"] == "unknown_key"
    dumps = "".join(str(valkey.admin.dump(name)) for name in valkey.admin.keys("*"))
    assert SHA.hexdigest() not in dumps
    assert not any(SHA.hexdigest() in name for name in valkey.admin.keys("*"))


@pytest.mark.parametrize(("first", "second"), [("key", "sha256"), ("sha256", "key")])
def test_one_key_in_both_forms(importing, valkey: Valkey, first, second) -> None:
    """A key and its hash are one key, in one run and over several."""
    forms = {"key": FOREIGN, "sha256": SHA.hexdigest()}
    lines = [json.dumps({form: forms[form], "client": "acme-web"}) for form in (first, second)]
    assert importing(lines).err == "line 2: key: is the same as in line 1\n"
    outcome = importing(lines[1:])
    assert outcome.out == "imported 0, already there 1, refused 0\n"
    assert stored(valkey) == 1


def test_a_hash_as_a_key(importing, monkeypatch) -> None:
    """A key that looks like a hash is refused; with a flag it is a key."""
    key = "ab" * 32
    outcome = importing([line(key=key)])
    told = "line 1: key: looks like a hash: name it sha256, or give --allow-hash-like\n"
    assert (outcome.code, outcome.err) == (1, told)
    assert importing([line(key=key)], "--allow-hash-like").code == 0
    assert verified(monkeypatch, key)["decision"] == "allow"


def test_the_past_of_a_key(importing, valkey: Valkey) -> None:
    """Times, status, ids with signs of other systems and nested metadata are taken over."""
    entry = {
        "key": FOREIGN,
        "client": "auth0|5f7c/eu+1",
        "project": "org/team",
        "tenant": "a|b",
        "id": "key_123",
        "status": "disabled",
        "created_at": "2024-03-01 12:00:00",
        "expires_at": 1_900_000_000_000,
        "last_used_at": "2025-01-02T03:04:05.678+01:00",
        "metadata": {"billing": {"plan": "gold", "seats": 7, "trial": False, "none": None}},
    }
    outcome = importing([json.dumps(entry)], "--json")
    assert outcome.document["never_expire"] == 0
    found = record(valkey)
    assert found["client_id"] == "auth0|5f7c/eu+1"
    assert (found["project_id"], found["tenant_id"]) == ("org/team", "a|b")
    assert found["status"] == "disabled"
    assert found["created_at"] == "2024-03-01T12:00:00.000Z"
    assert found["expires_at"] == "2030-03-17T17:46:40.000Z"
    assert found["metadata"] == {
        "billing.plan": "gold",
        "billing.seats": "7",
        "billing.trial": "false",
        "last_used_at": "2025-01-02T02:04:05.678Z",
        "source_id": "key_123",
    }
    listed = run("keys", "list", "--client", "auth0|5f7c/eu+1", "--json").document
    assert [key["kid"] for key in listed["keys"]] == [found["kid"]]


@pytest.mark.parametrize("given", [{}, {"never": True}, {"expires_at": "never"}])
def test_no_end(importing, valkey: Valkey, given) -> None:
    """A key that does not say when it ends never does, and the summary says how many do not."""
    outcome = importing([line(1, **given), line(2, expires_in="90d")])
    assert outcome.out == "imported 2, already there 0, refused 0; 1 never expires\n"


def test_an_end_that_is_past(importing, monkeypatch) -> None:
    """A key that had expired is expired here, too."""
    ends = {"created_at": "2020-01-01", "expires_at": "2021-01-01"}
    assert importing([line(key=FOREIGN, **ends)]).code == 0
    assert verified(monkeypatch)["reason"] == "expired"


def test_conflicts(importing, valkey: Valkey) -> None:
    """Another client, a revocation and a rotation here are named by line; nothing changes."""
    rows = importing([line(number) for number in range(4)], "--json").document["rows"]
    kids = [row["kid"] for row in rows]
    run("keys", "revoke", kids[1])
    run("keys", "rotate", kids[2], "--grace", "0")
    run("keys", "update", kids[3], "--plan", "gold")
    seq = valkey.admin.get("authz:{0}:seq")
    again = [line(0, client="other"), line(1), line(2), line(3)]
    outcome = importing(again, "--rejects", "rejects.jsonl")
    assert (outcome.code, outcome.out) == (
        1,
        "imported 0, already there 1, refused 0, conflicts 3\n",
    )
    assert outcome.err.splitlines() == [
        f"line 1: client: is acme-web for {kids[0]}, which has this key",
        f"line 2: key: is there as {kids[1]}, which is revoked; revoked is final",
        f"line 3: key: was a secret of {kids[2]}, which has other secrets now",
    ]
    rejects = [json.loads(text) for text in Path("rejects.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["kid"]) for entry in rejects] == list(
        zip([1, 2, 3], kids, strict=False)
    )
    rehearsal = importing(again, "--dry-run", "--json").document
    assert [row["outcome"] for row in rehearsal["rows"]] == ["conflict"] * 3 + ["already_there"]
    assert valkey.admin.get("authz:{0}:seq") == seq


def test_a_revoked_key(importing, monkeypatch, valkey: Valkey) -> None:
    """A key that was revoked in the other system is refused as revoked, and is no conflict."""
    assert importing([line(key=FOREIGN, status="revoked")]).code == 0
    assert verified(monkeypatch)["reason"] == "revoked"
    assert importing([line(key=FOREIGN, status="revoked")]).code == 0
    assert importing([line(key=FOREIGN)]).code == 1


TABLES = {
    "commas": "key,client,scope,metadata.team\n{},acme-web,a:b;a:c,core\n",
    "semicolons": "key;client;scope;metadata.team\n{};acme-web;a:b a:c;core\n",
    "tabs": "key\tclient\tscope\tmetadata.team\n{}\tacme-web\ta:b a:c\tcore\n",
    "CRLF": 'key,client,scope,metadata.team\r\n"{}","acme-web","a:b;a:c",core\r\n\r\n',
    "a BOM": "\ufeffkey,client,scope,metadata.team\n{},acme-web,a:b;a:c,core\n",
    "a JSON array": '[{{"key": "{}", "client": "acme-web", "scopes": ["a:b", "a:c"],'
    ' "metadata": {{"team": "core"}}}}]',
    "JSON Lines with a BOM": '\ufeff{{"key": "{}", "client": "acme-web", "scope": ["a:b", "a:c"],'
    ' "metadata": {{"team": "core"}}}}\r\n',
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_a_format_is_recognised(importing, valkey: Valkey, text) -> None:
    """Tables and JSON give the same key."""
    outcome = importing(text.format(FOREIGN).encode())
    assert (outcome.code, outcome.err) == (0, "")
    found = record(valkey)
    assert (found["client_id"], found["scopes"]) == ("acme-web", ["a:b", "a:c"])
    assert found["metadata"] == {"team": "core"}


def test_columns_by_other_names(importing, valkey: Valkey) -> None:
    """--map names the field of a column. A column that is no field is refused before the import."""
    table = f"Customer,Key SHA,Notes\nacme-web,{SHA.hexdigest()},\n,{'cd' * 32},x\nb,{'ef' * 32},\n"
    outcome = importing(table.encode())
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.error == (
        "authz: stdin: column 'Customer' is no field; give --map COLUMN=FIELD, or --map COLUMN=- "
        "to leave it out"
    )
    names = [f"--map={text}" for text in ("Customer=client", "Key SHA=sha256", "Notes=-")]
    outcome = importing(table.encode(), *names)
    assert outcome.err == "line 3: client: is needed\n"
    assert stored(valkey) == 2
    assert importing(table.encode(), *names, "--map=Absent=name").error == (
        "authz: --map: there is no column 'Absent'"
    )
    assert importing(table.encode(), "--map=Customer=colour").code == 2


BROKEN = {
    "UTF-16": ("key,client\n".encode("utf-16"), "stdin: is in UTF-16; save it as UTF-8"),
    "Latin-1": (b"key,client\nsk-0123456789abcdef,caf\xe9\n", "stdin: is not UTF-8 at byte 34"),
    "half an array": (b'[{"key": "a"},', "stdin: is not JSON at line 1, column 15; nothing was"),
    "a name twice": (b'[{"key": "a", "key": "b"}]', "stdin: is not JSON: a name occurs twice"),
    "no YAML": (b"_format_version: [", "stdin: is not YAML at line 2; nothing was imported"),
    "no consumers": (b"_format_version: '3.0'\n", "stdin: has no consumers"),
}


@pytest.mark.parametrize(("raw", "told"), BROKEN.values(), ids=BROKEN)
def test_a_document_that_cannot_be_read(importing, valkey: Valkey, raw, told) -> None:
    """A document that cannot be read is refused whole, and nothing is imported."""
    outcome = importing(raw)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.error.startswith(f"authz: {told}")
    assert stored(valkey) == 0


def test_rows_that_cannot_be_read(importing) -> None:
    """Bad rows are refused by number, and the others are imported."""
    table = f'key,client\n{FOREIGN},a,b\n"{FOREIGN}" x,a\nforeign-key-00000001,a\n'
    outcome = importing(table.encode())
    assert outcome.err.splitlines()[0] == "line 2: the line: has 3 cells, the header has 2"
    assert outcome.err.splitlines()[1].startswith("line 3: the line: is not a row of CSV")
    assert outcome.out.startswith("imported 1, ")
    array = json.dumps([1, {"key": "foreign-key-00000002", "client": "a"}])
    assert importing(array.encode()).err == "entry 1: the line: is not an object\n"


def test_an_unknown_field_is_named(importing) -> None:
    """The refusal names an unknown field, unless the name is long enough to be a key."""
    assert "has an unknown field, 'colour'; " in importing([line(colour="red")]).err
    assert "has an unknown field, number 3; " in importing([line(**{FOREIGN: "key"})]).err


def test_a_member_for_metadata_that_is_no_object(importing) -> None:
    """--map cannot add to a `metadata` that is no object: the entry is refused by its line."""
    given = [line(key=FOREIGN, metadata="x", team="core")]
    outcome = importing(given, "--map=team=metadata.team")
    assert outcome.code == 1
    assert outcome.err.startswith("line 1: metadata: has to be an object")
