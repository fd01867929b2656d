"""Tables for a terminal."""

from collections.abc import Sequence

from authz.cli.terminal import escaped


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Return the lines as a table of escaped cells. Each column is as wide as its widest cell.

    Raises ValueError if the lines differ in length. No lines give an empty text.
    """
    lines = [[escaped(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
