"""Rows of the audit trail that note reminders of rotations. An older version skips them."""

import json
from typing import Any, Final

from authz.core.keys.text import KID_PATTERN
from authz.core.rotation import Reminder
from authz.core.trail.rows import Row

NOTED: Final = "due"  # the action of such a row


def note(reminder: Reminder, change_id: str, writer: str, now: int) -> dict[str, str]:
    """Return the fields of a row that notes a reminder, without a mark. now: ms since the epoch."""
    detail = {
        "key": reminder.kid,
        "secret": reminder.secret,
        "before": reminder.before_ms,
        "due_at": reminder.due_at,
    }
    return {
        "kid": "",
        "change_id": change_id,
        "action": NOTED,
        "actor": writer,
        "at": str(now),
        "detail": json.dumps(detail),
    }


def noted(row: Row) -> Reminder | None:
    """Return the reminder of a row, or None if it is another row. The mark is not checked."""
    if row.kid or row.fields.get("action") != NOTED:
        return None
    try:
        found: Any = json.loads(row.fields.get("detail", ""))
        kid, secret = found["key"], found["secret"]
        before, due_at = found["before"], found["due_at"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not (isinstance(kid, str) and KID_PATTERN.fullmatch(kid) and isinstance(secret, str)):
        return None
    if not (isinstance(before, int) and isinstance(due_at, int)):
        return None
    return Reminder(kid, secret, before, due_at)
