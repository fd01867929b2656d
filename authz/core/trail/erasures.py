"""Erasures of usage in the audit trail.

An erasure is no change of a record, so its row has no kid and makes no version: an older version
of authz skips it. The key stands in the detail.
"""

import json
from typing import Final

from authz.core.audit import Action
from authz.core.keys.text import KID_PATTERN
from authz.core.trail.rows import Row

KEY: Final = "key"  # in the detail


def subject(row: Row) -> str:
    """Return the kid of the key that a row is about; empty if it is about none, or is garbled.

    An erasure is about the key whose usage was erased.
    """
    if row.kid or row.fields.get("action") != Action.ERASE_USAGE.value:
        return row.kid
    try:
        found = json.loads(row.fields.get("detail", ""))[KEY]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) and KID_PATTERN.fullmatch(found) else ""
