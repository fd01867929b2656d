"""Moves: what authz:meta of a store with one partition says about a move to several.

While a store is moved, its authz:meta names the number of partitions that it is about to have.
After that a signpost stands in its place, which names the number that the store has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from authz.core.partitions import COUNTS
from authz.storage import schema

FIELDS: Final = (schema.META_PARTITIONS, schema.META_COMPLETE, schema.META_RESHARDING)
_COUNTS: Final = {str(count): count for count in COUNTS}
FROZEN: Final = "the store is moving to {} partitions"
DONE: Final = "the store has {} partitions, this process works with 1; see redis.partitions"


@dataclass(frozen=True, slots=True)
class Move:
    """A move of the store to `count` partitions. is_done: the store has them now."""

    count: int
    is_done: bool


def count_in(meta: Mapping[str, str]) -> int | None:
    """Return the number of partitions by the fields of authz:meta; None for an unknown one."""
    return _COUNTS.get(meta.get(schema.META_PARTITIONS, "1"))


def move_in(meta: Mapping[str, str]) -> Move | None:
    """Return the move by the fields of authz:meta of a store with one partition, or None.

    None too for a number that this version does not know, and for a signpost that is not complete.
    """
    if schema.META_PARTITIONS in meta:
        count, is_done = count_in(meta), True
        if schema.META_COMPLETE not in meta:
            return None
    else:
        count, is_done = _COUNTS.get(meta.get(schema.META_RESHARDING, "")), False
    return None if count is None or count == 1 else Move(count, is_done)
