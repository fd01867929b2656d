"""Tables for a terminal."""

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from authz.cli.terminal import escaped

Paint = Callable[[str], str]

GAP: Final = 2  # blanks between two columns
WHOLE: Final = 16  # a column up to this width, such as that of kids, is never cut
LEAST: Final = 8  # characters that stay of a cell
CUT: Final = "..."
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z", re.ASCII)


def columns(lines: Sequence[Sequence[str]], paints: Mapping[int, Paint] = {}) -> str:
    """Return the lines as a table of escaped cells. Each column is as wide as its widest cell.

    If stdout is a terminal and the table is wider, long texts are cut: not kids and not times.
    paints: the function that colors the cells of a column, by its place. The first line is the
    heading, which stays plain. Raises ValueError if the lines differ in length. No lines give an
    empty text.
    """
    lines = [[escaped(cell) for cell in line] for line in lines]
    found = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in found]
    if sys.stdout is not None and sys.stdout.isatty():
        is_whole = [
            width <= WHOLE or _is_times(cells) for cells, width in zip(found, widths, strict=True)
        ]
        widths = fitted(widths, is_whole, shutil.get_terminal_size().columns)
    return "\n".join(
        "  ".join(
            _cell(cell, width, paints.get(at) if number else None)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for number, line in enumerate(lines)
    )


def fitted(widths: Sequence[int], is_whole: Sequence[bool], room: int) -> list[int]:
    """Return the widths with which columns fit into `room`, as far as possible.

    The widest columns are cut first, down to LEAST (8). is_whole: the columns that are not cut.
    """
    left = room - GAP * (len(widths) - 1)
    left -= sum(width for width, whole in zip(widths, is_whole, strict=True) if whole)
    cut = [width for width, whole in zip(widths, is_whole, strict=True) if not whole]
    limit = max(cut, default=0)
    while limit > LEAST and sum(min(width, limit) for width in cut) > left:
        limit -= 1
    return [
        width if whole else min(width, limit) for width, whole in zip(widths, is_whole, strict=True)
    ]


def _is_times(cells: Sequence[str]) -> bool:
    """Return whether the longest cell of a column below its heading is a time."""
    return bool(_TIME.fullmatch(max(cells[1:], key=len, default="")))


def _cell(cell: str, width: int, paint: Paint | None) -> str:
    if len(cell) > width:
        cell = cell[: width - len(CUT)] + CUT
    return f"{paint(cell) if paint else cell}{' ' * (width - len(cell))}"
