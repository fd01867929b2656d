"""The interface of lua/apply_change.lua: its arguments and its reply."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from authz.core.changes import KeyChange
from authz.core.errors import AliasTaken, Conflict, Deleted, Fault
from authz.core.seals import RecordSeals
from authz.storage import compact, compact_entries, encoding, schema, tombstones
from authz.storage.field_codec import as_text
from authz.storage.index_members import short_member
from authz.storage.marks import Marks, with_mark
from authz.storage.scripts import script

STEPS: Final = script("change_steps")
APPLY_ONE: Final = script("apply_change")
APPLY_CHANGE: Final = STEPS + APPLY_ONE
# For how many numbers a record is sealed, at the first try and at each other. Nobody knows the
# number of a change before the store makes it, because other changes may come first. A reader of
# MONITOR sees the seals, and could use one for a later number: so the first try has one seal.
SEALED_AHEAD: Final = (1, 8, 32, 128, 512, 512, 512)
TOO_FAST: Final = "the store changes too fast; try again"


class Moved(Fault):
    """Nothing was changed: there is no seal for the number that the change would get.

    last: the number of the last change of the store.
    """

    def __init__(self, last: int) -> None:
        super().__init__("other changes came first")
        self.last = last


class IsCompact(Fault):
    """Nothing was changed: the stored record is compact, and the new one was not."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers that a change may get: `count` of them from `first` on. The record is sealed for
    each.
    """

    seals: RecordSeals
    first: int
    count: int


def script_input(
    change: KeyChange,
    names: schema.Names = schema.DEFAULT,
    marks: Marks | None = None,
    numbers: Numbers | None = None,
    *,
    is_compact: bool = False,
) -> tuple[list[str], list[str | int]]:
    """Return KEYS and ARGV of lua/apply_change.lua for this change.

    marks: for the entry of the audit trail; None: it gets no mark. numbers: for the seal of the
    record; None: it gets no seal. is_compact: record and entry are written in the compact form.
    Their bytes are in ARGV as text with surrogates. Raises BadInput if the keys of the marks cannot
    be read.
    """
    record = change.record
    event = encoding.encode_event(change.event, change.id, change.base_version)
    event = with_mark(marks, record.kid, event)
    encoded = encoding.encode(record)
    whole = {**encoded, compact.CHANGE_ID: change.id}
    fields = [as_text(compact.body(whole))] if is_compact else _flat(encoded)
    seals = ""
    if numbers is not None:
        of = (record.kid, whole, numbers.first, numbers.count)
        if is_compact:
            seals = as_text(numbers.seals.raw_candidates(*of))
        else:
            seals = numbers.seals.candidates(*of)
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
        names.publish,
        schema.LOG_LENGTH,
        record.kid,
        record.status.value,
        record.created_at,
        len(change.aliases),
        seals,
        names.imported,
        as_text(compact.change_mark(change.id)),
        short_member(record.kid),
        len(fields),
        *fields,
        *_audited(event, is_compact=is_compact),
        *(place.member for place in gone),
    ]


def script_outcome(change: KeyChange, reply: Any) -> int | Fault:
    """Return the version from a reply of lua/apply_change.lua.

    Otherwise return, not raise: Conflict if the key is at another version, AliasTaken if one of its
    aliases is another key's, Deleted if the key was deleted, Moved if its seals are for other
    numbers, IsCompact if the record has to be written in the compact form.
    """
    outcome, detail = reply
    if outcome == "compact":
        return IsCompact()
    if outcome == "moved":
        return Moved(int(detail))
    if outcome == "gone":
        return Deleted()
    if outcome == "conflict":
        return Conflict(f"{change.record.kid} is at version {detail}, not {change.base_version}")
    return AliasTaken(detail) if outcome == "taken" else int(detail)


def _audited(event: Mapping[str, str], *, is_compact: bool) -> list[str]:
    if not is_compact:
        return _flat(event)
    return [compact_entries.ENTRY, as_text(compact_entries.pack(event))]


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [text for pair in fields.items() for text in pair]
