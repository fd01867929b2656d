"""Cells of CSV that no spreadsheet runs as a formula."""

from typing import Final

# Begins of cells that spreadsheets run (OWASP, CSV injection), also in full width.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_cell(value: object) -> str:
    """Return the text of a cell; empty for None.

    Text that a spreadsheet could run as a formula gets an apostrophe in front.
    """
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
