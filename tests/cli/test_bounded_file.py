"""Files of commands are read up to a bound."""

from pathlib import Path

import pytest

from authz.cli.bounded_file import read_ascii, read_bounded
from authz.core.errors import BadInput


def test_a_file_up_to_its_bound(tmp_path: Path) -> None:
    """A file of the longest permitted size is read, one byte more is refused."""
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert read_bounded("--x", str(file), 3) == b"abc"
    assert read_ascii("--x", str(file), 3) == "abc"
    with pytest.raises(BadInput, match=r"--x: .*: more than 2 bytes"):
        read_bounded("--x", str(file), 2)


def test_a_file_without_an_end() -> None:
    """A device that never ends is read up to the bound alone."""
    with pytest.raises(BadInput, match="more than 1000 bytes"):
        read_bounded("--x", "/dev/zero", 1000)
