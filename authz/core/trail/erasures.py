"""Rows of the audit trail that are about a key, and no change of its record.

Such a row has no kid and makes no version: an older version of authz skips it. The key stands in
the detail.
"""

import json
from typing import Final

from authz.core.audit import Action
from authz.core.keys.text import KID_PATTERN
from authz.core.trail.rows import Row

KEY: Final = "key"  # in the detail
NOTES: Final = frozenset(
    action.value for action in (Action.ERASE_USAGE, Action.LEAK, Action.CANARY, Action.BUDGET)
)


def subject(row: Row) -> str:
    """Return the kid of the key that a row is about; empty if it is about none, or is garbled.

    A note, such as an erasure of usage, is about the key in its detail.
    """
    if row.kid or row.fields.get("action") not in NOTES:
        return row.kid
    try:
        found = json.loads(row.fields.get("detail", ""))[KEY]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) and KID_PATTERN.fullmatch(found) else ""
