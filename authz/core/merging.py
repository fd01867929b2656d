"""Three-way merge of a declared key: its state in a file, in the store, and at their common base.

Field values are plain JSON values, as `fields_of` returns them. All functions are pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from authz.core.audit import Action, AuditEntry
from authz.core.records import KeyRecord
from authz.core.updates import plain

Fields = Mapping[str, object]

EXPIRES_AT: Final = "expires_at"
STATUS: Final = "status"
_TURNED: Final = {Action.DISABLE: "active", Action.ENABLE: "disabled"}  # the status before


@dataclass(frozen=True, slots=True)
class Clash:
    """A field that differs in file and store: both changed it, or its base is unknown."""

    name: str
    declared: object
    stored: object


@dataclass(frozen=True, slots=True)
class Merge:
    """The result, by field. wanted: declared values to set. kept: stored values that stay.

    clashes: fields that only a person can decide. Fields that are equal are in none of them.
    """

    wanted: Mapping[str, object] = field(default_factory=dict)
    kept: Mapping[str, object] = field(default_factory=dict)
    clashes: tuple[Clash, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """The fields of a key as a file declared them when it was last applied.

    version: of the record after that. ref: the name that the file has for a key that it introduced;
    empty for other keys.
    """

    version: int
    fields: Fields
    ref: str = ""


def fields_of(record: KeyRecord) -> dict[str, object]:
    """Return the fields that a file declares, by their names in the record, as JSON values."""
    return plain(record) | {STATUS: record.status.value}


def merge(
    declared: Fields, stored: Fields, base: Fields | None, *, overwrites: bool = False
) -> Merge:
    """Return the merge of a declared and a stored key.

    Only fields of `declared` count; `stored` has all of them. base: the state that the file was
    made from. A field that it lacks clashes if file and store differ; None: it lacks all.
    overwrites: the file wins every clash, and undoes the changes of the store.
    """
    wanted: dict[str, object] = {}
    kept: dict[str, object] = {}
    clashes: list[Clash] = []
    known = {} if base is None else base
    for name, ours in declared.items():
        theirs = stored[name]
        if ours == theirs:
            continue
        if overwrites or (name in known and known[name] == theirs):
            wanted[name] = ours
        elif name in known and known[name] == ours:
            kept[name] = theirs
        else:
            clashes.append(Clash(name, ours, theirs))
    return Merge(wanted, kept, tuple(clashes))


def state_at(record: KeyRecord, entries: Iterable[AuditEntry], version: int) -> dict[str, object]:
    """Return the fields of a key as they were at an earlier version of it, or at its present one.

    entries: of this key in the audit trail, newest first. A field whose value is not known is left
    out. Empty if the entries do not lead back to `version`.
    """
    found = fields_of(record)
    at = record.version
    for entry in entries:
        if at > version:
            _undo(found, entry)
            at = entry.base_version
        elif EXPIRES_AT not in found:  # a rotation does not tell the end before it
            _take_end(found, entry.event.detail)
        if at <= version and EXPIRES_AT in found:
            break
    return found if at == version else {}


def _undo(found: dict[str, object], entry: AuditEntry) -> None:
    """Take the change of one entry back, in place. Drop a field whose value before is not known."""
    event = entry.event
    if event.action is Action.UPDATE:
        for name, change in event.detail.items():
            if isinstance(change, dict) and "old" in change:
                found[name] = change["old"]
    elif event.action is Action.ROTATE:
        found.pop(EXPIRES_AT, None)
    elif event.action in _TURNED:
        found[STATUS] = _TURNED[event.action]
    elif event.action is Action.REVOKE:
        found.pop(STATUS, None)


def _take_end(found: dict[str, object], detail: Mapping[str, Any]) -> None:
    if EXPIRES_AT in detail:
        end = detail[EXPIRES_AT]
        found[EXPIRES_AT] = end["new"] if isinstance(end, dict) else end
