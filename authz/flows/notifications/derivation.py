"""Derivation: makes events from rows of the audit trail."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from authz.core.admin_ports import RecordReader
from authz.core.audit import AuditEntry
from authz.core.errors import Unreadable
from authz.core.notifications.notification import (
    Notification,
    alarm_notification,
    event_id,
    expiry_notification,
    notification,
    reminder_notification,
    row_of,
)
from authz.core.records import KeyRecord
from authz.core.trail import alarms, reminders
from authz.core.trail.erasures import subject
from authz.core.trail.expiries import noted
from authz.core.trail.ports import TrailStore
from authz.core.trail.rows import Proof, Row, TrailKeys, position

PAGE: Final = 100  # rows in one read
_LAST_PART: Final = 2**64 - 1

log = logging.getLogger("authz.events")


class Derivation:
    """Makes events. decode: reads the entry of a row, or says why it cannot be read.

    partition: of the trail, if the store has several; then it stands before the id of each event,
    such as `3.17-0-5f2c9a10b3de`.

    A row makes an event if it is about a key and has a right mark, or one under a pepper that is
    missing here. Methods raise Unavailable if the store fails.
    """

    def __init__(
        self,
        rows: TrailStore,
        keys: TrailKeys,
        records: RecordReader,
        decode: Callable[[Row], AuditEntry | Unreadable],
        partition: int | None = None,
    ) -> None:
        self._label = "" if partition is None else f"{partition}."
        self._rows = rows
        self._keys = keys
        self._records = records
        self._decode = decode

    async def events(self, rows: Sequence[Row]) -> list[Notification | None]:
        """Return for each row, in order, its event, or None if it makes none."""
        kids = list(dict.fromkeys(kid for row in rows if (kid := _about(row))))
        found = await self._records.read(kids) if kids else []
        records = {one.kid: one for one in found if isinstance(one, KeyRecord)}
        events = [self._event(row, records) for row in rows]
        if not self._label:
            return events
        return [one and replace(one, id=f"{self._label}{one.id}") for one in events]

    async def row(self, wanted: str) -> Row | None:
        """Return the row of the event with this id, or None if the trail has it no more."""
        label, own = self._label, wanted.removeprefix(self._label)
        try:
            row_id = row_of(own)
        except ValueError:
            return None
        number, part = position(row_id)
        before = f"{number}-{part - 1}" if part else f"{max(number - 1, 0)}-{_LAST_PART}"
        rows = await self._rows.after(before, 1)
        return rows[0] if rows and f"{label}{event_id(rows[0])}" == wanted else None

    async def before(self, row_id: str, count: int) -> Sequence[tuple[str, Notification | None]]:
        """Return at most `count` rows before `row_id`, newest first: their ids and events.

        Empty: from the last row on.
        """
        rows = await self._rows.before(row_id, count)
        events = await self.events(rows)
        return [(row.id, event) for row, event in zip(rows, events, strict=True)]

    async def newest(self, limit: int, wants: Callable[[Notification], bool]) -> list[Notification]:
        """Return at most `limit` events that are wanted, the newest first."""
        found: list[Notification] = []
        end = ""
        while len(found) < limit and (page := await self.before(end, PAGE)):
            end = page[-1][0]
            found += [one for _, one in page if one is not None and wants(one)]
        return found[:limit]

    def _event(self, row: Row, records: dict[str, KeyRecord]) -> Notification | None:
        kid = _about(row)
        if not kid:
            return None
        if self._keys.check(row.fields) in {Proof.WRONG, Proof.ABSENT}:
            log.warning("row %s of the audit trail has no right mark and makes no event", row.id)
            return None
        record = records.get(kid)
        if (expiry := noted(row)) is not None:
            return expiry_notification(row, expiry, record)
        if (reminder := reminders.noted(row)) is not None:
            return reminder_notification(row, reminder, record)
        if (alarm := alarms.noted(row)) is not None:
            return alarm_notification(row, alarm, record)
        entry = self._decode(row)
        return notification(row, kid, entry, record) if isinstance(entry, AuditEntry) else None


def _about(row: Row) -> str:
    """Return the kid of the key that a row is about, also of a note about one; else empty."""
    found = noted(row) or reminders.noted(row) or alarms.noted(row)
    return found.kid if found else subject(row)
