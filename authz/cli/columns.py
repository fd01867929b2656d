"""Tables for a terminal."""

from collections.abc import Callable, Mapping, Sequence

from authz.cli.terminal import escaped

Paint = Callable[[str], str]


def columns(lines: Sequence[Sequence[str]], paints: Mapping[int, Paint] = {}) -> str:
    """Return the lines as a table of escaped cells. Each column is as wide as its widest cell.

    paints: the function that colors the cells of a column, by its place. The first line is the
    heading, which stays plain. Raises ValueError if the lines differ in length. No lines give an
    empty text.
    """
    lines = [[escaped(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            _cell(cell, width, paints.get(at) if number else None)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for number, line in enumerate(lines)
    )


def _cell(cell: str, width: int, paint: Paint | None) -> str:
    return f"{paint(cell) if paint else cell}{' ' * (width - len(cell))}"
