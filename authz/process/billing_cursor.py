"""BillingCursor: the progress of an export of billing records, in one SQLite file.

Rules:
1. Records are in the table `pending` from before they are sent until they are confirmed.
2. The table `delivered` has what was sent of each key, hour, route and unit, as far back as counts
   are compared.
3. One process has the file at a time. Each change is on the disk when it returns.
4. Every row has a checksum, so that an altered file is found. SQLite finds a shortened one.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from authz.core.errors import BadInput
from authz.core.usage.billing.differences import Delivered, Place
from authz.core.usage.billing.ports import Bounds, Pending
from authz.core.usage.billing.record import BillingRecord, decoded, encoded
from authz.process.cursor_file import OPTION, checksum, faults, opened, verify

VERSION: Final = 1
_TABLES: Final = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL)",
    """CREATE TABLE delivered (kid TEXT, hour INTEGER, route TEXT, unit TEXT,
       total INTEGER NOT NULL, revision INTEGER NOT NULL, checksum INTEGER NOT NULL,
       PRIMARY KEY (kid, hour, route, unit)) WITHOUT ROWID""",
    """CREATE TABLE pending (number INTEGER PRIMARY KEY AUTOINCREMENT, sent_ms INTEGER NOT NULL,
       record TEXT NOT NULL, checksum INTEGER NOT NULL)""",
)
_OWNER: Final = ("namespace", "database", "target", "units")  # must be equal
_PUT: Final = "INSERT OR REPLACE INTO delivered VALUES (?, ?, ?, ?, ?, ?, ?)"
_REMOVE: Final = "DELETE FROM delivered WHERE kid = ? AND hour = ? AND route = ? AND unit = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorOwner:
    """The export to which a cursor belongs.

    peppers: fingerprints of the store's peppers; stores with one in common are the same. target:
    the receiver. units: their names in order. The hours before a later unit was added
    would never be exported for it.
    """

    namespace: str
    database: int
    peppers: frozenset[str]
    target: str
    units: str = ""


class BillingCursor:
    """An ExportCursor. Open it with `billing_cursor`."""

    def __init__(
        self, path: Path | None, connection: sqlite3.Connection, owner: CursorOwner
    ) -> None:
        self._path = path
        self._base = connection
        self._owner = owner

    def prepare(self, records: Sequence[BillingRecord], now_ms: int) -> int:
        """Implement DeliveryLog.prepare."""
        with self._change() as base:
            base.executemany(
                "INSERT INTO pending (sent_ms, record, checksum) VALUES (?, ?, ?)",
                [(now_ms, text, checksum(now_ms, text)) for text in map(encoded, records)],
            )
            base.executemany(
                _PUT,
                [self._sum(record, record.quantity, record.revision) for record in records],
            )
            ((last,),) = base.execute("SELECT max(number) FROM pending")
        return int(last)

    def confirm(self, number: int, refused: Sequence[BillingRecord] = ()) -> None:
        """Implement DeliveryLog.confirm."""
        with self._change() as base:
            base.execute("DELETE FROM pending WHERE number <= ?", (number,))
            for record in refused:
                if record.revision > 1:
                    base.execute(_PUT, self._sum(record, -record.quantity, record.revision - 1))
                else:
                    base.execute(_REMOVE, record.series)

    def pending(self, after: int, most: int) -> Sequence[Pending]:
        """Return at most `most` pending records after a number, in the order of their numbers."""
        with self._faults():
            rows = self._base.execute(
                "SELECT number, sent_ms, record, checksum FROM pending WHERE number > ?"
                " ORDER BY number LIMIT ?",
                (after, most),
            ).fetchall()
            for _, sent_ms, text, expected in rows:
                verify(expected, sent_ms, text)
            return [Pending(number, sent_ms, decoded(text)) for number, sent_ms, text, _ in rows]

    def of(self, kid: str, hours: range) -> Mapping[Place, Delivered]:
        """Implement DeliveredHours.of."""
        found = {}
        with self._faults():
            for hour, route, unit, total, revision, expected in self._base.execute(
                "SELECT hour, route, unit, total, revision, checksum FROM delivered"
                " WHERE kid = ? AND hour >= ? AND hour < ?",
                (kid, hours.start, hours.stop),
            ):
                verify(expected, kid, hour, route, unit, total, revision)
                found[hour, route, unit] = Delivered(total, revision)
        return found

    def bounds(self) -> Bounds | None:
        """Implement DeliveredHours.bounds."""
        with self._faults():
            found = self._about("bounds")
            return None if found is None else Bounds(*map(int, json.loads(found)))

    def advance(self, bounds: Bounds) -> None:
        """Implement DeliveredHours.advance."""
        with self._change() as base:
            self._note("bounds", json.dumps([bounds.floor, bounds.position]))
            base.execute("DELETE FROM delivered WHERE hour < ?", (bounds.floor,))

    def claim(self) -> None:
        """Find whether the file belongs to this export, or make it so if it is new.

        Raises BadInput if it belongs to another one, or is damaged.
        """
        with self._faults():
            if self._about("version") is None:
                with self._change():
                    self._note("version", str(VERSION))
                    for name in _OWNER:
                        self._note(name, str(getattr(self._owner, name)))
                    self._note("peppers", json.dumps(sorted(self._owner.peppers)))
                return
            self._verify_owner()

    def _verify_owner(self) -> None:
        if self._about("version") != str(VERSION):
            raise BadInput(OPTION, f"{self._path} is of another version of authz")
        for name in _OWNER:
            if (known := self._about(name)) != str(getattr(self._owner, name)):
                what = {"target": "receiver", "units": "choice of --unit"}.get(name, name)
                problem = f"belongs to another {what}: {known or 'none'}; use one for each"
                raise BadInput(OPTION, f"{self._path} {problem}")
        peppers = frozenset(json.loads(self._about("peppers") or "[]"))
        if not peppers & self._owner.peppers:
            raise BadInput(OPTION, f"{self._path} belongs to another store; use one for each")
        if peppers != self._owner.peppers:
            with self._change():
                self._note("peppers", json.dumps(sorted(self._owner.peppers)))

    def _sum(self, record: BillingRecord, more: int, revision: int) -> tuple[Any, ...]:
        """Return the row of a record after `more` was added to its sum."""
        series, total = record.series, more
        if record.revision > 1:
            found = self.of(record.kid, range(record.hour, record.hour + 1))
            total += found.get(series[1:], Delivered(0, 0)).total
        return (*series, total, revision, checksum(*series, total, revision))

    def _about(self, name: str) -> str | None:
        row = self._base.execute(
            "SELECT value, checksum FROM about WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            return None
        verify(row[1], name, row[0])
        return str(row[0])

    def _note(self, name: str, value: str) -> None:
        row = (name, value, checksum(name, value))
        self._base.execute("INSERT OR REPLACE INTO about VALUES (?, ?, ?)", row)

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """Make a change as a whole. Within a rehearsal it is part of that."""
        with self._faults():
            if self._base.in_transaction:
                yield self._base
                return
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._base.execute("ROLLBACK")
                raise

    def _faults(self) -> AbstractContextManager[None]:
        return faults(self._path)


@contextmanager
def billing_cursor(
    path: Path | None, owner: CursorOwner, *, is_rehearsal: bool = False
) -> Iterator[BillingCursor]:
    """Yield the cursor of a file, made if it is missing. None: one that ends with the process.

    is_rehearsal: nothing of it is kept, and no file is made. Raises BadInput if the file is not
    usable or belongs to another export, Unavailable if another process has it.
    """
    if path is not None and is_rehearsal and not path.exists():
        path = None
    with opened(path, _TABLES, is_rehearsal=is_rehearsal) as connection:
        cursor = BillingCursor(path, connection, owner)
        cursor.claim()
        yield cursor
