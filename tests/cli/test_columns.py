"""Tables on a terminal: long texts are cut, so that a line fits."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.cli.columns import GAP, LEAST, columns, fitted

TIME = "2026-11-29T23:07:15.261Z"
KID = "7Hk2mQ9xT4bVzR1c"
TABLE = [
    ("KID", "STATUS", "CLIENT", "EXPIRES", "NAME"),
    (KID, "active", "c" * 128, TIME, "a long name " * 20),
    (KID, "active", "acme", "never", "shop"),
]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.booleans()), min_size=1, max_size=10),
    st.integers(1, 300),
)
def test_widths_fit_if_they_can(columns_given, room) -> None:
    """Only columns that may be cut get narrower, and none is cut below LEAST."""
    widths, whole = zip(*columns_given, strict=True)
    found = fitted(widths, whole, room)
    for width, is_whole, made in zip(widths, whole, found, strict=True):
        assert made == width if is_whole else min(width, LEAST) <= made <= width
    total = sum(found) + GAP * (len(found) - 1)
    cut = [made for made, is_whole in zip(found, whole, strict=True) if not is_whole]
    assert total <= room or all(made <= LEAST for made in cut)
    if total < room - len(cut):  # there was room for one more character in each
        assert found == list(widths)


class Terminal(io.StringIO):
    """A stdout that says that it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_a_terminal_gets_lines_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kids and times stay whole; the two long texts share the rest."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "80")
    lines = columns(TABLE).splitlines()
    assert max(map(len, lines)) == 80
    assert lines[1].startswith(f"{KID}  active  cccccccccc...  {TIME}  a long nam...")
    assert lines[2] == f"{KID}  active  acme           never                     shop"


def test_a_pipe_gets_everything() -> None:
    """Other programs read whole cells, whatever COLUMNS says."""
    assert "c" * 128 in columns(TABLE)
