"""Moved: the result of a move."""

from dataclasses import dataclass


@dataclass(slots=True)
class Moved:
    """The result of a move.

    keys: records. moved: those whose kid leads elsewhere. names: copied names, repeated ones
    included. rows: of the audit trail. copy_seconds: from the first round to the freeze.
    frozen_seconds: the time for which changes were refused. damaged: kids of records that cannot be
    read; they were moved as they are. is_continued: an earlier run had decided the move, and this
    one has only ended it.
    """

    keys: int = 0
    moved: int = 0
    names: int = 0
    rows: int = 0
    copy_seconds: float = 0.0
    frozen_seconds: float = 0.0
    damaged: tuple[str, ...] = ()
    is_continued: bool = False
