"""Checkpoints: rows that seal all rows before them, each over the hash of the whole trail.

A checkpoint is a row itself, so the next one seals it, too. Its id follows directly on the last
sealed row. The store refuses to add it if another row came between, so it never misses one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from authz.core.audit import Action
from authz.core.trail.rows import (
    CHECKPOINT,
    REMOVED,
    RESTORE,
    START,
    Row,
    TrailKeys,
    chained,
    position,
    row_hash,
)

HASH_LENGTH: Final = 64  # hexadecimal digits


@dataclass(slots=True)
class Chain:
    """The hash over rows of the trail, in order. It starts empty, and `extend` adds to it.

    first, last: ids of the first and the last row, or "". count: number of rows. digest: the hash.
    """

    first: str = ""
    last: str = ""
    count: int = 0
    digest: bytes = START

    def extend(self, row: Row) -> None:
        """Add the next row."""
        self.extend_by(row.id, row_hash(row.id, row.fields))

    def extend_by(self, row_id: str, digest: bytes) -> None:
        """Add the next row by its hash, which is all that is left of a row that was removed."""
        self.digest = chained(self.digest, digest)
        self.first = self.first or row_id
        self.last = row_id
        self.count += 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint: the fields of the chain before it, and its time.

    at: ms since the epoch. went_back: id of a checkpoint that had vanished when this one was made,
    or empty.
    """

    first: str
    last: str
    count: int
    digest: bytes
    at: int
    went_back: str = ""

    def matches(self, chain: Chain) -> bool:
        """Return whether `chain`, of the rows before this checkpoint, is the one that it sealed."""
        sealed = (self.first, self.last, self.count, self.digest)
        return sealed == (chain.first, chain.last, chain.count, chain.digest)

    def resumed(self, row: Row) -> Chain:
        """Return the chain of all rows up to and including this checkpoint.

        The content of the checkpoint gives it, so the sealed rows are not read. row: its own row.
        """
        chain = Chain(self.first, self.last, self.count, self.digest)
        chain.extend(row)
        return chain


def checkpoint(
    chain: Chain, keys: TrailKeys, *, change_id: str, writer: str, at: int, went_back: str = ""
) -> dict[str, str]:
    """Return the marked fields of a checkpoint that seals a chain, which does not change.

    at: ms since the epoch.
    """
    detail: dict[str, Any] = {
        "first": chain.first,
        "last": chain.last,
        "count": chain.count,
        "hash": chain.digest.hex(),
    }
    if went_back:
        detail["went_back"] = went_back
    return keys.marked(_fields(CHECKPOINT, change_id, writer, at, detail))


def restored(
    keys: TrailKeys,
    *,
    change_id: str,
    writer: str,
    at: int,
    last: int,
    number: int,
    left_out: Mapping[str, bytes],
) -> dict[str, str]:
    """Return the marked fields of the row that a restore writes, with the id `NUMBER-0`.

    last: number of the last change in the backup. The changes between the two are lost, or were
    never made. left_out: ids and hashes of entries about keys that were deleted after the backup.
    """
    detail: dict[str, Any] = {"last": last, "number": number}
    if left_out:
        detail[REMOVED] = {row_id: digest.hex() for row_id, digest in left_out.items()}
    return keys.marked(_fields(RESTORE, change_id, writer, at, detail))


def removed_by(row: Row) -> dict[str, bytes]:
    """Return ids and hashes of the rows that a row says were removed; empty for other rows.

    A deletion of a key removes its entries, and a restore leaves out those of deleted keys. The
    mark of the row is not checked.
    """
    if f'"{REMOVED}"' not in row.fields.get("detail", ""):
        return {}
    if row.fields.get("action") != (Action.DELETE.value if row.kid else RESTORE):
        return {}
    try:
        found = json.loads(row.fields["detail"])[REMOVED]
        named = {row_id: bytes.fromhex(digest) for row_id, digest in found.items()}
        for row_id in named:
            position(row_id)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return named


def is_checkpoint(row: Row) -> bool:
    """Return whether a row says that it is a checkpoint. Its mark is not checked."""
    return not row.kid and row.fields.get("action") == CHECKPOINT


def parse(row: Row) -> Checkpoint | None:
    """Return the content of a checkpoint, or None if it cannot be read. Its mark is not checked."""
    try:
        found = json.loads(row.fields["detail"])
        digest = str(found["hash"])
        if len(digest) != HASH_LENGTH:
            return None
        return Checkpoint(
            first=str(found["first"]),
            last=str(found["last"]),
            count=int(found["count"]),
            digest=bytes.fromhex(digest),
            at=int(row.fields["at"]),
            went_back=str(found.get("went_back", "")),
        )
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def restored_from(row: Row) -> int | None:
    """Return the number of the last change in the backup, which a restore row names.

    None if it is no such row, or its id is not that of the number in it. Its mark is not checked.
    """
    if row.kid or row.fields.get("action") != RESTORE:
        return None
    try:
        found = json.loads(row.fields["detail"])
        return int(found["last"]) if row.id == f"{int(found['number'])}-0" else None
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _fields(
    action: str, change_id: str, writer: str, at: int, detail: Mapping[str, Any]
) -> dict[str, str]:
    return {
        "kid": "",
        "change_id": change_id,
        "action": action,
        "actor": writer,
        "note": "",
        "at": str(at),
        "detail": json.dumps(detail),
        "base": "0",
    }
