"""Cells of CSV."""

import pytest

from authz.core.csv_cell import csv_cell


@pytest.mark.parametrize(
    "text",
    ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20a"],
)
def test_a_formula_is_text(text: str) -> None:
    """A text that a spreadsheet could run gets an apostrophe."""
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize(("value", "cell"), [(None, ""), ("", ""), (0, "0"), ("a=1", "a=1")])
def test_other_values_stay(value: object, cell: str) -> None:
    """Other values are their text."""
    assert csv_cell(value) == cell
