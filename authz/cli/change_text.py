"""A change of a key, as members of JSON and in words."""

import json
from collections.abc import Mapping
from typing import Any, Final

from authz.cli.times import duration
from authz.core.changes import KeyChange
from authz.core.deletion import Removal
from authz.core.records import Status
from authz.core.times import rfc3339

_TIMES: Final = ("expires_at", "not_before", "retires_at", "signs_from")
_DURATION: Final = "outage_grace"


def is_end(change: KeyChange | Removal) -> bool:
    """Return whether the change ends the key: a revocation or a deletion."""
    return isinstance(change, Removal) or change.record.status is Status.REVOKED


def changes_of(change: KeyChange | Removal) -> dict[str, Any]:
    """Return the fields that a change alters, by name: the new value, or `old` and `new`.

    Times are in RFC 3339, and durations have a unit. Without such fields: the new `status`. For a
    deletion: `deleted` with the last status.
    """
    if isinstance(change, Removal):
        return {"deleted": change.record.status.value}
    detail = dict(change.event.detail)
    return readable(detail) if detail else {"status": change.record.status.value}


def readable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields by name with times in RFC 3339 and durations such as `30s`, also in old/new.

    Other values stay as they are. fields: times and durations in milliseconds.
    """
    return {name: _readable(name, value) for name, value in fields.items()}


def change_text(changes: Mapping[str, Any]) -> str:
    """Return fields of `readable` as unescaped text: `plan free -> pro; status revoked`."""
    return "; ".join(f"{name} {value_text(value)}" for name, value in changes.items())


def value_text(value: Any) -> str:
    """Return a value of `readable` as text: `free -> pro` for old/new, `(none)` for an empty one.

    The parts of a list are joined with spaces. Other values are JSON.
    """
    if isinstance(value, dict) and value.keys() == {"old", "new"}:
        return f"{value_text(value['old'])} -> {value_text(value['new'])}"
    if isinstance(value, str) and value:
        return value
    if not value and value != 0:
        return "(none)"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else json.dumps(value)


def _readable(name: str, value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"old", "new"}:
        return {which: _readable(name, part) for which, part in value.items()}
    if not isinstance(value, int):
        return value
    if name == _DURATION:
        return duration(value)
    return rfc3339(value) if name in _TIMES else value
