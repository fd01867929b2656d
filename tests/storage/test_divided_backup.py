"""The file of a backup of several partitions: parts that are missing or too many are refused."""

import pytest

from authz.storage.divided_backup import DividedWriter, backups
from authz.storage.sealed_lines import FileRefused

COUNT = 8


def written() -> list[dict[str, object]]:
    """Return the lines of a good file: two lines of each partition."""
    found: list[dict[str, object]] = []
    writer = DividedWriter(found.append, COUNT, 5)
    for at in range(COUNT):
        write = writer.of(at)
        write({"meta": {"partition": at}})
        write({"end": {}})
    writer.end()
    return found


def contents(lines: list[dict[str, object]]) -> list[list[tuple[int, dict[str, object]]]]:
    """Return the lines of each backup in a file."""
    return [list(one) for one in backups(enumerate(lines, start=1), COUNT)]


def test_each_partition_is_read_apart():
    """The lines of each have numbers of their own."""
    wanted = [[(1, {"meta": {"partition": at}}), (2, {"end": {}})] for at in range(COUNT)]
    assert contents(written()) == wanted


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: lines[0].update(partitions=48), "is of 48 partitions"),
        (lambda lines: lines[0].pop("partitions"), "is of 1 partitions"),
        (lambda lines: lines[0].update(format=3), "format 3"),
        (lambda lines: lines.__delitem__(slice(7, 9)), "partition 3 is missing"),
        (lambda lines: lines.__delitem__(slice(15, 17)), "has 7 of 8 partitions"),
        (lambda lines: lines.__delitem__(2), "partition 0 is truncated"),
        (lambda lines: lines.insert(3, lines[2]), "is not one of the backup of partition 0"),
        (lambda lines: lines[1].update(line=[]), "is not one of the backup of partition 0"),
        (lambda lines: lines[1].update(partition="0"), "has 0 of 8 partitions"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(change, problem):
    """The refusal names what is wrong."""
    lines = written()
    change(lines)
    with pytest.raises(FileRefused, match=problem):
        contents(lines)
