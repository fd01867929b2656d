"""Lines of a backup as a restore writes them: without earlier versions and deleted keys."""

from collections.abc import Mapping
from typing import Any

from authz.core.audit import Action
from authz.core.trail.rows import row_hash
from authz.storage import encoding, schema, tombstones
from authz.storage.meta import Form, form_of
from authz.storage.tombstones import Tombstone


def without_earlier(item: dict[str, Any], number: int, last: Mapping[str, int]) -> dict[str, Any]:
    """Return a line without the records that have another line as their last one.

    A record that was never read again stays. A line without records is returned as it is.
    """
    if "records" not in item:
        return item
    records = [entry for entry in item["records"] if last.get(entry[0], number) == number]
    return item | {"records": records}


def without_deleted(item: dict[str, Any], gone: frozenset[Tombstone]) -> dict[str, Any]:
    """Return a line without records, aliases, applied fields and audit entries of deleted keys.

    The audit entries about deletions stay. gone: the tombstones of the deleted keys.
    """
    if not gone:
        return item
    kept = dict(item)
    if "records" in item:
        kept["records"] = [one for one in item["records"] if tombstones.of_kid(one[0]) not in gone]
    if "aliases" in item:
        kept["aliases"] = [
            (digest, kid)
            for digest, kid in item["aliases"]
            if not gone & {tombstones.of_kid(kid), tombstones.of_digest(bytes.fromhex(digest))}
        ]
    if "applied" in item:
        found = item["applied"]
        kept["applied"] = {
            kid: one for kid, one in found.items() if tombstones.of_kid(kid) not in gone
        }
    if "audit" in item:
        kept["audit"] = [
            (entry_id, entry)
            for entry_id, entry in item["audit"]
            if entry.get("action") == Action.DELETE.value
            or tombstones.of_kid(entry.get("kid", "")) not in gone
        ]
    return kept


def rows_left_out(item: dict[str, Any], kept: dict[str, Any]) -> dict[str, bytes]:
    """Return the hashes, by id, of the audit entries of `item` that `kept` lacks."""
    rows, present = item.get("audit", ()), {row[0] for row in kept.get("audit", ())}
    return {row_id: row_hash(row_id, fields) for row_id, fields in rows if row_id not in present}


def is_compact(meta: Mapping[str, str]) -> bool:
    """Return whether records are written compact, by the fields of authz:meta of a backup."""
    return form_of(meta.get(schema.META_COMPACT)) is not Form.HASHES


def created_at(fields: Mapping[str, str]) -> int:
    """Return the time of a record, in ms since the epoch; 0 if it cannot be read."""
    try:
        return encoding.number("created_at", fields.get("created_at", ""))
    except ValueError:
        return 0
