"""Ids of rows of several partitions: `3.17-0` is row 17-0 of partition 3.

With one partition an id has no label.
"""

from collections.abc import Iterable, Iterator

from authz.core.trail.rows import Row, position

MAX_LABEL = 2  # digits


def labelled(partition: int, row_id: str) -> str:
    """Return the id with the label of its partition; empty for an empty one."""
    return f"{partition}.{row_id}" if row_id else ""


def split_label(text: str) -> tuple[int | None, str]:
    """Return the partition, None without a label, and the id. Raises ValueError for other texts."""
    label, dot, row_id = text.rpartition(".")
    position(row_id)
    if not dot:
        return None, row_id
    if not (label.isascii() and label.isdecimal() and len(label) <= MAX_LABEL):
        raise ValueError(f"{text[:40]!r} is not the id of a row")
    return int(label), row_id


def of_partition(rows: Iterable[Row], partition: int | None) -> Iterator[Row]:
    """Yield the rows of a partition without their labels. None: all, which may have none.

    Raises ValueError for a row with a label if there should be none, and the reverse.
    """
    for row in rows:
        label, row_id = split_label(row.id)
        if (label is None) != (partition is None):
            raise ValueError("a copy of another number of partitions")
        if label == partition:
            yield Row(row_id, row.fields)
