"""The interface of lua/apply_change.lua: its arguments and its reply."""

from collections.abc import Mapping
from typing import Any, Final

from authz.core.changes import KeyChange
from authz.core.errors import AliasTaken, Conflict, Deleted, Fault
from authz.storage import encoding, schema, tombstones
from authz.storage.marks import Marks, with_mark
from authz.storage.scripts import script

APPLY_CHANGE: Final = script("change_steps", "apply_change")


def script_input(
    change: KeyChange, names: schema.Names = schema.DEFAULT, marks: Marks | None = None
) -> tuple[list[str], list[str | int]]:
    """Return KEYS and ARGV of lua/apply_change.lua for this change.

    marks: for the entry of the audit trail; None: it gets no mark. Raises BadInput if the keys of
    the marks cannot be read.
    """
    record = change.record
    event = encoding.encode_event(change.event, change.id, change.base_version)
    event = with_mark(marks, record.kid, event)
    fields = _flat(encoding.encode(record))
    keys = [
        names.key(record.kid),
        names.seq,
        names.log,
        names.audit,
        names.keys,
        names.client(record.client_id),
        *map(names.alias, change.aliases),
        *([names.client(change.former_client_id)] if change.former_client_id else []),
    ]
    gone = tombstones.of(record.kid, change.aliases) if not change.base_version else []
    keys += [names.gone(place.bucket) for place in gone]
    return keys, [
        change.id,
        change.base_version,
        names.changes,
        schema.LOG_LENGTH,
        record.kid,
        record.status.value,
        record.created_at,
        len(change.aliases),
        len(fields),
        *fields,
        *_flat(event),
        *(place.member for place in gone),
    ]


def script_outcome(change: KeyChange, reply: Any) -> int | Fault:
    """Return the version from a reply of lua/apply_change.lua.

    Otherwise return, not raise: Conflict if the key is at another version, AliasTaken if one of its
    aliases is another key's, Deleted if the key was deleted.
    """
    outcome, detail = reply
    if outcome == "gone":
        return Deleted()
    if outcome == "conflict":
        return Conflict(f"{change.record.kid} is at version {detail}, not {change.base_version}")
    return AliasTaken(detail) if outcome == "taken" else int(detail)


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [text for pair in fields.items() for text in pair]
