"""The cursor file of an export of billing records."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from authz.core.errors import BadInput, Unavailable
from authz.core.usage.billing.differences import Delivered
from authz.core.usage.billing.ports import Bounds
from authz.core.usage.billing.record import BillingRecord, Owner
from authz.process.billing_cursor import CursorOwner, billing_cursor

KID = "K" * 16
OWNER = CursorOwner(namespace="", database=0, peppers=frozenset({"one"}), target="files")
FIRST = BillingRecord(
    kid=KID, hour=500, route="models", unit="ok", quantity=7, revision=1, owner=Owner("acme")
)
PLACE = (500, "models", "ok")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a cursor with a delivered record, a pending one, and bounds."""
    path = tmp_path / "cursor"
    with billing_cursor(path, OWNER) as cursor:
        cursor.confirm(cursor.prepare([FIRST], 10))
        cursor.advance(Bounds(400, 501))
        cursor.prepare([replace(FIRST, quantity=-2, revision=2, customer="cus_1")], 20)
    return path


def test_everything_is_there_again(file: Path):
    """Sums, pending records and bounds survive the process."""
    with billing_cursor(file, OWNER) as cursor:
        assert cursor.bounds() == Bounds(400, 501)
        ((number, sent, record),) = cursor.pending(0, 10)
        assert (sent, record.quantity, record.customer) == (20, -2, "cus_1")
        assert (record.owner, record.id) == (
            Owner("acme"),
            f"{KID}:1970-01-21T20:00:00Z:models:ok:2",
        )
        assert cursor.pending(number, 10) == []
        assert cursor.of(KID, range(500, 501)) == {PLACE: Delivered(5, 2)}
        assert cursor.of(KID, range(501, 600)) == {}
        cursor.confirm(number, [record])
        assert cursor.of(KID, range(500, 501)) == {PLACE: Delivered(7, 1)}
        cursor.advance(Bounds(501, 600))
        assert cursor.of(KID, range(600)) == {}
    assert [each.name for each in file.parent.iterdir()] == ["cursor"]
    assert file.stat().st_mode & 0o777 == 0o640


def test_one_export_at_a_time(file: Path):
    """A second one is refused, and the first one goes on."""
    with billing_cursor(file, OWNER) as cursor:
        with (
            pytest.raises(Unavailable, match="another export uses this cursor"),
            billing_cursor(file, OWNER),
        ):
            pass
        cursor.advance(Bounds(401, 501))


def test_a_rehearsal_keeps_nothing(file: Path):
    """Its changes are gone afterwards, and it makes no file."""
    before = file.read_bytes()
    with billing_cursor(file, OWNER, is_rehearsal=True) as cursor:
        cursor.confirm(cursor.prepare([replace(FIRST, hour=501)], 30))
        assert cursor.pending(0, 10) == []
        cursor.advance(Bounds(401, 502))
    assert file.read_bytes() == before
    absent = file.with_name("absent")
    with billing_cursor(absent, OWNER, is_rehearsal=True) as cursor:
        assert cursor.bounds() is None
    assert not absent.exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"namespace": "eu"}, "another namespace: none"),
        ({"database": 3}, "another database: 0"),
        ({"target": "stripe:api"}, "another receiver: files"),
        ({"units": "ok, units"}, "another choice of --unit: none"),
        ({"peppers": frozenset({"two"})}, "another store"),
    ],
)
def test_a_cursor_of_another_export(file: Path, change, problem: str):
    """A cursor of another export is refused, and not changed."""
    before = file.read_bytes()
    with (
        pytest.raises(BadInput, match=f"--cursor: .*{problem}"),
        billing_cursor(file, replace(OWNER, **change)),
    ):
        pass
    assert file.read_bytes() == before


def test_a_pepper_may_rotate(file: Path):
    """A store with one pepper in common is the same, also after the other one is gone."""
    for peppers in ({"one", "two"}, {"two"}, {"two", "three"}):
        with billing_cursor(file, replace(OWNER, peppers=frozenset(peppers))) as cursor:
            assert cursor.bounds() is not None


def _shortened(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4096])


def _emptied(file: Path) -> None:
    file.write_bytes(b"")


def _other_text(file: Path) -> None:
    file.write_text("1-0\n")


def _sql(statement: str):
    def alter(file: Path) -> None:
        base = sqlite3.connect(file)
        base.execute(statement)
        base.commit()
        base.close()

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        _shortened,
        _emptied,
        _other_text,
        _sql("DROP TABLE pending"),
        _sql("UPDATE delivered SET total = 9"),
        _sql("UPDATE pending SET record = replace(record, 'acme', 'acne')"),
        _sql("UPDATE pending SET sent_ms = 1"),
        _sql("UPDATE about SET value = '[1, 2]' WHERE name = 'bounds'"),
    ],
)
def test_an_altered_cursor_is_refused(file: Path, alter):
    """In one line that names the file, when the altered part is read at the latest."""
    alter(file)
    with pytest.raises(BadInput, match=r"--cursor: .*/cursor is damaged or no cursor; restore it"):
        _read(file)


def _read(file: Path) -> None:
    with billing_cursor(file, OWNER) as cursor:
        cursor.bounds()
        cursor.pending(0, 10)
        cursor.of(KID, range(600))


def test_a_place_without_a_file(tmp_path: Path):
    """A directory that is missing, or is the file itself, is named."""
    with pytest.raises(BadInput, match="No such file"), billing_cursor(tmp_path / "a/b", OWNER):
        pass
    with (
        pytest.raises((BadInput, Unavailable), match=str(tmp_path)),
        billing_cursor(tmp_path, OWNER),
    ):
        pass
