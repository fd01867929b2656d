"""A backup file of a store with several partitions: one backup after another in one sealed file.

The lines, see sealed_lines.py:
    {"format": 2, "partitions": 8, "created_at": ...}
    {"partition": 0, "line": {...}} for each line of the backup of partition 0, then of partition 1,
    and so on; their content is that of backup.py
    {"end": {"partitions": 8}}

Each partition is as it was at one of its changes. A key and its history lie in one partition.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from authz.storage.backup import Write
from authz.storage.sealed_lines import FileRefused
from authz.storage.verified_backup import OTHER_COUNT, Line

FORMAT: Final = 2


class DividedWriter:
    """Writes the backups of all partitions. write: writes one line of the file."""

    def __init__(self, write: Write, count: int, created_at: int) -> None:
        self._write = write
        self._count = count
        write({"format": FORMAT, "partitions": count, "created_at": created_at})

    def of(self, partition: int) -> Write:
        """Return what writes a line of the backup of this partition. They come in order."""
        return lambda line: self._write({"partition": partition, "line": line})

    def end(self) -> None:
        """Write the last line."""
        self._write({"end": {"partitions": self._count}})


def backups(lines: Iterable[Line], count: int) -> Iterator[Iterator[Line]]:
    """Yield the lines of the backup of each partition, in order. Take all of one before the next.

    lines: of the file. count: of partitions. The numbers of lines are those of the backup of the
    partition. Raises FileRefused if the file has another number of partitions, or is incomplete.
    """
    found = iter(lines)
    header = next(found)[1]  # `lines` is never empty: it would have raised
    _refuse_other(header, count)
    for at, (key, group) in enumerate(groupby(found, lambda line: _partition_of(line[1]))):
        if key is None:
            if at != count or [item for _, item in group] != [{"end": {"partitions": count}}]:
                raise FileRefused(f"the backup has {at} of {count} partitions")
            return
        if key != at:
            raise FileRefused(f"partition {at} is missing")
        yield _whole(at, group)


def _refuse_other(header: dict[str, Any], count: int) -> None:
    theirs = header.get("partitions", 1)
    if theirs != count:
        raise FileRefused(f"line 1: {OTHER_COUNT.format(theirs, count)}")
    if header.get("format") != FORMAT:
        text = f"format {header.get('format')!r}; this version reads {FORMAT}"
        raise FileRefused(f"line 1: {text}")


def _partition_of(item: dict[str, Any]) -> int | None:
    found = item.get("partition")
    return found if isinstance(found, int) else None


def _whole(at: int, group: Iterator[Line]) -> Iterator[Line]:
    """Yield the lines of one backup. Raises FileRefused unless its end comes last."""
    is_over = False
    for number, (line, item) in enumerate(group, start=1):
        inner = item.get("line")
        if is_over or not isinstance(inner, dict):
            raise FileRefused(f"line {line}: it is not one of the backup of partition {at}")
        is_over = "end" in inner
        yield number, inner
    if not is_over:
        raise FileRefused(f"partition {at} is truncated")
