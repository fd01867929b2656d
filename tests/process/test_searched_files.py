"""Keys in files and folders."""

import os
import socket
from pathlib import Path

import pytest

from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.keys.scanning import KeyScanner
from authz.process.searched_bytes import BLOCK, BlockSearch
from authz.process.searched_files import NO_FILE, SearchedFiles

KEY = Keyring("ak", [Pepper.expand("1", b"p" * 32)]).mint("live").text


class Searched:
    """Searches a path and remembers the problems."""

    def __init__(self):
        self.problems = []
        search = BlockSearch(KeyScanner(("ak",), ("sk-",)))
        self.files = SearchedFiles(search, lambda path, why: self.problems.append((path, why)))

    def under(self, path):
        """Return path, line and offset of each key."""
        return [(one.path, one.line, one.hit.offset) for one in self.files.under(path)]


def test_every_file_of_a_tree_is_searched(tmp_path):
    """Folders are searched to any depth, hidden files and binary files too."""
    deep = tmp_path / "a" / ".b" / "c"
    deep.mkdir(parents=True)
    (deep / ".env").write_bytes(b"\x00\xff\nA=" + KEY.encode() + b"\x00")
    (tmp_path / "clean").write_text("nothing\n")
    assert Searched().under(tmp_path) == [(str(deep / ".env"), 2, 5)]


@pytest.mark.parametrize("at", [-len(KEY), -40, -1, 0, 1])
@pytest.mark.parametrize("blocks", [1, 3])
def test_a_key_across_two_blocks(tmp_path, at, blocks):
    """A key is found once, with its line, wherever the border of two blocks cuts it."""
    before = blocks * BLOCK + at
    file = tmp_path / "large"
    file.write_bytes(b"\n" * before + KEY.encode() + b"\n" * BLOCK)
    assert Searched().under(file) == [(str(file), before + 1, before)]


def test_links_are_not_followed(tmp_path):
    """A link in a folder leads nowhere. A link that is given as the path is followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key").write_text(KEY)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").symlink_to(outside / "key")
    (inside / "folder").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    searched = Searched()
    assert (searched.under(inside), searched.problems) == ([], [])
    assert len(searched.under(inside / "file")) == 1


def test_pipes_and_sockets_are_left_out(tmp_path, monkeypatch):
    """A pipe without a writer does not hold the search up."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        searched = Searched()
        assert (searched.under(tmp_path), searched.problems) == ([], [])
        assert searched.files.files == 0


def test_a_named_pipe_or_device_is_no_clean_result(tmp_path):
    """A path that is named and is no file is told, such as that of `authz scan <(git diff)`."""
    os.mkfifo(tmp_path / "pipe")
    reading, writing = os.pipe()
    os.write(writing, KEY.encode())
    os.close(writing)
    for path in (tmp_path / "pipe", f"/dev/fd/{reading}", "/dev/null"):
        searched = Searched()
        assert searched.under(Path(path)) == []
        assert searched.problems == [(str(path), NO_FILE)]
    os.close(reading)


def test_unreadable_places_are_problems(tmp_path, monkeypatch):
    """A missing path, and a file or folder that cannot be opened, are told; others are searched."""
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "closed").write_text(KEY)
    (tmp_path / "folder").mkdir()
    opened, listed = os.open, os.scandir

    def refuse(path, flags):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return opened(path, flags)

    def refuse_folder(path):
        if str(path).endswith("folder"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr("authz.process.searched_files.os.open", refuse)
    monkeypatch.setattr("authz.process.searched_files.os.scandir", refuse_folder)
    searched = Searched()
    assert len(searched.under(tmp_path)) == 1
    assert sorted(searched.problems) == [
        (str(tmp_path / "closed"), "Permission denied"),
        (str(tmp_path / "folder"), "Permission denied"),
    ]
    assert searched.under(tmp_path / "missing") == []
    assert searched.problems[-1] == (str(tmp_path / "missing"), "No such file or directory")


def test_names_are_searched(tmp_path):
    """A key in the name of a file or folder is found."""
    (tmp_path / f"{KEY}.txt").write_text("")
    ((path, line, _),) = Searched().under(tmp_path)
    assert (path, line) == (str(tmp_path / f"{KEY}.txt"), 0)


def test_a_possible_key_at_the_end_of_a_file(tmp_path):
    """A text of no fixed length is found at the end of a file, and across two blocks."""
    file = tmp_path / "file"
    file.write_bytes(b" " * (BLOCK - 10) + b"sk-0123456789abcdef")
    assert Searched().under(file) == [(str(file), 1, BLOCK - 10)]
