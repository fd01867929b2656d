"""`authz keys import`: tables with odd headers and rows, and fields that are given twice."""

import hashlib
import json

import pytest

from tests.support.cli.importing import FOREIGN, stored
from tests.support.real import Valkey

SHA = hashlib.sha256(FOREIGN.encode())
TWICE = [
    ("client,sha256,client\na,{0},b", (), "two columns are client; rename one of them"),
    ("who,client,sha256\na,b,{0}", ("who=client",), "two columns are client; rename one of them"),
    ("metadata.a,b,sha256\n1,2,{0}", ("b=metadata.a",), "two columns are metadata.a"),
    ('{{"who": "a", "client": "b", "sha256": "{0}"}}', ("who=client",), "line 1: client: is given"),
    ('{{"a": "a", "b": "b", "sha256": "{0}"}}', ("a=client", "b=client"), "client: is given twice"),
    (
        '{{"a": "1", "client": "b", "sha256": "{0}", "metadata": {{"x": "2"}}}}',
        ("a=metadata.x",),
        "line 1: metadata: has a name twice, once by --map",
    ),
]


@pytest.mark.parametrize(("text", "maps", "told"), TWICE)
def test_a_field_that_is_given_twice(importing, valkey: Valkey, text, maps, told) -> None:
    """The last of two clients must not get the key in silence."""
    options = [word for one in maps for word in ("--map", one)]
    outcome = importing(text.format(SHA.hexdigest()).encode(), *options)
    assert outcome.code != 0
    assert told in outcome.err
    assert not stored(valkey)


def test_a_null_does_not_count_as_a_second_value(importing, valkey: Valkey) -> None:
    """A member that is mapped may stand beside an empty one of the field's own name."""
    text = json.dumps({"who": "acme-web", "client": None, "sha256": SHA.hexdigest()})
    assert importing(text.encode(), "--map", "who=client").code == 0
    assert stored(valkey) == 1


def test_a_column_without_a_name(importing, valkey: Valkey) -> None:
    """Spreadsheets write empty columns. A value in one of them is refused."""
    other = hashlib.sha256(b"another").hexdigest()
    table = f"client,,sha256,\nacme-web,,{SHA.hexdigest()},\nacme-web,x,{other},\n"
    outcome = importing(table.encode())
    assert outcome.code == 1
    assert outcome.err == "line 3: the line: has a value in a column that has no name\n"
    assert stored(valkey) == 1


def test_tables_that_were_put_together(importing, valkey: Valkey) -> None:
    """A byte order mark in the middle belongs to no client, and a second header is a bad line."""
    table = f"\ufeffclient,sha256\nacme-web,{SHA.hexdigest()}\n"
    other = hashlib.sha256(b"another").hexdigest()
    outcome = importing(f"{table}\ufeffacme-api,{other}\n\ufeffclient,sha256\n".encode())
    assert outcome.err.startswith("line 4: sha256: has to be")
    assert stored(valkey) == 2


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,{0}x", "has a cell of more than 131072 characters"),
        ('a,"{1}\nb,{1}\nc,{1}', "quotes do not match; it goes on to line 4"),
    ],
)
def test_a_row_that_is_cut_off(importing, row, told) -> None:
    """The refusal says how much of the table it is about."""
    table = "client,sha256\n" + row.format("x" * 131_072, SHA.hexdigest()) + "\n"
    outcome = importing(table.encode())
    assert (outcome.code, told in outcome.err) == (1, True)


@pytest.mark.parametrize("key", ["cust_123", "0123456789abcdef"])
def test_a_table_without_a_header_shows_no_key(importing, monkeypatch, key) -> None:
    """Its first row is taken for the header. A cell that could be a key has its number alone."""
    monkeypatch.setenv("AUTHZ_KEYS__IMPORTED_PREFIXES", '["cust_"]')
    outcome = importing(f"{key},acme-web\n".encode(), "--format", "csv")
    assert outcome.code == 2
    assert "column number 1 is no field" in outcome.err


def test_a_header_that_is_too_long(importing) -> None:
    """A header that cannot be read ends the import before its first row."""
    outcome = importing(b"client," + b"x" * 200_000 + b"\na,b\n")
    assert outcome.code == 2
    assert "stdin: the header has a cell of more than 131072 characters" in outcome.err
