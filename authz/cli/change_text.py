"""A change of a key, as members of JSON and in words."""

import json
from collections.abc import Mapping
from typing import Any

from authz.core.changes import KeyChange
from authz.core.deletion import Removal
from authz.core.records import Status


def is_end(change: KeyChange | Removal) -> bool:
    """Return whether the change ends the key: a revocation or a deletion."""
    return isinstance(change, Removal) or change.record.status is Status.REVOKED


def changes_of(change: KeyChange | Removal) -> dict[str, Any]:
    """Return the fields that a change alters, each with its old and new value or its new value."""
    if isinstance(change, Removal):
        return {"deleted": change.record.status.value}
    detail = dict(change.event.detail)
    return detail or {"status": change.record.status.value}


def change_text(changes: Mapping[str, Any]) -> str:
    """Return altered fields as text: `plan free -> pro; status revoked`."""
    return "; ".join(f"{name} {_value(value)}" for name, value in changes.items())


def _value(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"old", "new"}:
        return f"{_value(value['old'])} -> {_value(value['new'])}"
    if isinstance(value, str) and value:
        return value
    return json.dumps(value) if value or value == 0 else "(none)"
