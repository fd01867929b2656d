"""Deletion of a key: its record, its index entries and its audit entries go, a tombstone stays.

The personal data of a key stands in its record, in the indexes and in the details of its audit
entries. A deletion removes these entries. The entry about the deletion names each by its id and its
hash, so that a verification of the trail can put the hash in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from authz.core.audit import Action, AuditEvent
from authz.core.changes import Author, Refused
from authz.core.records import KeyRecord, Status
from authz.core.selector import is_expired
from authz.core.trail.rows import REMOVED


class RemovedEntry(NamedTuple):
    """An audit entry that a deletion removes: its id in the trail, and the hash of its content."""

    id: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Removal:
    """The deletion of a key at `record.version`. id: makes a repeated request harmless."""

    id: str
    record: KeyRecord
    entries: tuple[RemovedEntry, ...]
    event: AuditEvent


def delete(
    record: KeyRecord,
    entries: Sequence[RemovedEntry],
    author: Author,
    now: int,
    *,
    is_forced: bool = False,
) -> Removal | Refused:
    """Plan the deletion of a key, which is final. `now`: ms since the epoch.

    entries: all entries of the key in the audit trail. Returns Refused if the key may still be
    used: it is neither revoked nor expired, and `is_forced` is False.
    """
    if not (is_forced or record.status is Status.REVOKED or is_expired(record, now)):
        return Refused(
            f"{record.kid} is {record.status.value}; revoke it first, "
            "or delete it nevertheless with --force"
        )
    detail: dict[str, object] = {REMOVED: {one.id: one.hash.hex() for one in entries}}
    if is_forced:
        detail["forced"] = True
    event = AuditEvent(
        Action.DELETE, author.actor, author.note, now, detail, author.source, author.request_id
    )
    return Removal(author.change_id, record, tuple(entries), event)
