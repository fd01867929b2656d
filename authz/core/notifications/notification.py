"""Notification: one event for a receiver outside, made from a row of the audit trail."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from authz.core.audit import Action, AuditEntry
from authz.core.notifications.catalogue import ANOMALY, DUE, EXPIRED, SPEC_VERSION, TYPES, EventType
from authz.core.records import KeyRecord
from authz.core.rotation import Reminder
from authz.core.times import rfc3339
from authz.core.trail.alarms import Alarm
from authz.core.trail.expiries import Expiry
from authz.core.trail.labels import MAX_LABEL
from authz.core.trail.rows import Row, position, row_hash
from authz.core.usage.question import HOUR_MS

_HASH_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class Notification:
    """One event. id: the same whenever it is made from the same row. at: ms since the epoch.

    data: members of the CloudEvent's data, without those that have no value.
    """

    id: str
    type: str
    kid: str
    at: int
    data: Mapping[str, Any] = field(default_factory=dict)

    def cloud_event(self, source: str) -> dict[str, Any]:
        """Return the event in the JSON format of CloudEvents 1.0."""
        return {
            "specversion": SPEC_VERSION,
            "id": self.id,
            "source": source,
            "type": self.type,
            "subject": f"keys/{self.kid}",
            "time": rfc3339(self.at),
            "datacontenttype": "application/json",
            "data": dict(self.data),
        }


def event_id(row: Row) -> str:
    """Return the id of the event of a row: the id of the row, and 12 digits of its hash.

    A row that took the id of a lost one, as after a failover, gives another id.
    """
    return f"{row.id}-{row_hash(row.id, row.fields)[:_HASH_BYTES].hex()}"


def partition_of(event: str) -> tuple[int | None, str]:
    """Return the partition before an event's id, None without one, and the id after it.

    Raises ValueError for a text that is not the id of an event.
    """
    label, dot, own = event.rpartition(".")
    row_of(own)
    if not dot:
        return None, own
    if not (label.isascii() and label.isdecimal() and len(label) <= MAX_LABEL):
        raise ValueError("not the id of an event")
    return int(label), own


def row_of(event: str) -> str:
    """Return the id of the row that an event was made from. Raises ValueError for another text."""
    row_id, _, digest = event.rpartition("-")
    position(row_id)
    if len(digest) != 2 * _HASH_BYTES or not set(digest) <= set("0123456789abcdef"):
        raise ValueError("not the id of an event")
    return row_id


def notification(
    row: Row, kid: str, entry: AuditEntry, record: KeyRecord | None
) -> Notification | None:
    """Return the event of a row about a key, or None if its action has no event.

    record: of the key, as it is now; None if it is gone or cannot be read.
    """
    kind = TYPES.get(entry.event.action)
    if kind is None:
        return None
    event = entry.event
    about = {
        **_owner(kid, record),
        "version": entry.version,
        "actor": event.actor,
        "note": event.note,
        "address": event.source,
        "request_id": event.request_id,
    }
    given = dict(event.detail)
    if event.action is Action.UPDATE:
        given = {"fields": sorted(given)}
    details = {name: value for name, value in given.items() if name in kind.details}
    data = {name: value for name, value in about.items() if value != ""}
    return Notification(event_id(row), kind.name, kid, event.at, {**data, "details": details})


def expiry_notification(row: Row, expiry: Expiry, record: KeyRecord | None) -> Notification:
    """Return the event of a row that notes an expiry. record: as of `notification`."""
    details = {"expires_at": expiry.at}
    return _noted(EXPIRED, row, (expiry.kid, expiry.at), details, record)


def reminder_notification(row: Row, reminder: Reminder, record: KeyRecord | None) -> Notification:
    """Return the event of a row that notes a reminder. record: as of `notification`."""
    details = {"secret": reminder.secret, "due_at": reminder.due_at}
    return _noted(DUE, row, (reminder.kid, _time(row)), details, record)


def alarm_notification(row: Row, alarm: Alarm, record: KeyRecord | None) -> Notification:
    """Return the event of a row that notes an alarm. record: as of `notification`."""
    details = {
        "risk": alarm.ranked.risk,
        "features": sorted(alarm.reasons),
        "hour": alarm.hour * HOUR_MS,
        "done": alarm.done,
        "rule": alarm.rule,
    }
    return _noted(ANOMALY, row, (alarm.kid, _time(row)), details, record)


def _time(row: Row) -> int:
    at = row.fields.get("at", "")
    return int(at) if at.isascii() and at.isdecimal() else 0


def _noted(
    kind: EventType,
    row: Row,
    about: tuple[str, int],
    details: Mapping[str, Any],
    record: KeyRecord | None,
) -> Notification:
    """Return an event about a key at a time: `about`, the time in ms since the epoch."""
    kid, at = about
    members = {
        **_owner(kid, record),
        "version": position(row.id)[0],
        "actor": row.fields.get("actor", ""),
    }
    data = {name: value for name, value in members.items() if value != ""}
    return Notification(event_id(row), kind.name, kid, at, {**data, "details": dict(details)})


def _owner(kid: str, record: KeyRecord | None) -> dict[str, Any]:
    return {
        "kid": kid,
        "client": record.client_id if record else "",
        "project": record.project_id if record else "",
        "tenant": record.tenant_id if record else "",
    }
