"""Keys in streams, such as stdin."""

import os
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from authz.core.keys.scanning import KeyScanner
from authz.process.searched_bytes import PART, BlockSearch, LineNumbers, Waiting, hits_in
from authz.process.searched_files import SearchedFiles
from tests.support.fakes import make_keyring


@pytest.mark.parametrize("before", [0, 1, 100_000])
def test_a_pipe_that_does_not_block(before: int):
    """The search waits for the writer of such a pipe. Nothing to read yet is not its end."""
    key = make_keyring().mint("live").text
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def write() -> None:
        for part in (b"\n" * before, key.encode()):
            time.sleep(0.05)
            with os.fdopen(os.dup(writing), "wb") as file:
                file.write(part)
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        search = BlockSearch(KeyScanner(("ak",)))
        found = list(search.hits(Waiting(stream), counts_lines=True))
    writer.join()
    assert [(one.offset, one.line) for one in found] == [(before, before + 1)]


def test_a_stream_that_is_not_read_to_its_end_is_no_clean_result():
    """A search that does not wait says that it could not go on."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb") as stream, pytest.raises(BlockingIOError):
        list(BlockSearch(KeyScanner(("ak",))).hits(stream, counts_lines=True))
    os.close(writing)


def test_lines_of_offsets(tmp_path: Path):
    """Each offset has its line, in whatever order they are asked for."""
    text = b"".join(b"x" * (number % 97) + b"\n" for number in range(1000))
    text = (text * 3)[: 2 * PART + 7] + b"\n\n"
    file = tmp_path / "file"
    file.write_bytes(text)
    offsets = [*range(0, len(text), 61), PART - 1, PART, PART + 1, 2 * PART, len(text)]
    with file.open("rb") as stream:
        lines = LineNumbers(stream.fileno())
        for offset in (*offsets[::-1], *offsets):
            assert lines.of(offset) == 1 + text[:offset].count(b"\n")


def test_a_log_with_a_key_in_each_line_is_read_once(tmp_path: Path, monkeypatch):
    """The lines of all keys cost a fixed number of reads of the file, not one for each key."""
    file = tmp_path / "log"
    key = make_keyring().mint("live").text
    file.write_text(f"GET / {key}\n" * 20_000)
    read, pread = [0], os.pread

    def counted(*given: int) -> bytes:
        data = pread(*given)
        read[0] += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    problems: list[str] = []
    files = SearchedFiles(BlockSearch(KeyScanner(("ak",))), lambda *one: problems.extend(one))
    assert [one.line for one in files.under(file)] == list(range(1, 20_001))
    assert read[0] < 20_000 * PART + 2 * file.stat().st_size


def test_the_memory_of_lines(tmp_path: Path):
    """A part of a file takes 8 bytes, and a little more while the list of them grows."""
    file, parts = tmp_path / "file", 20_000
    with file.open("wb") as stream:
        for number in range(parts):
            stream.seek(number * PART + PART - 300)
            stream.write(b"\n" * 300)
    with file.open("rb") as stream:
        lines = LineNumbers(stream.fileno())
        lines.of(0)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            assert lines.of(parts * PART) == 1 + 300 * parts
            assert tracemalloc.get_traced_memory()[0] - before < 10 * parts
        finally:
            tracemalloc.stop()


class Counted(bytes):
    """Bytes that remember how many of them were looked at for line ends."""

    looked_at = 0

    def count(self, *given: Any) -> int:
        """Count, as bytes do."""
        self.looked_at += given[2] - given[1]
        return super().count(*given)


def test_an_object_with_a_key_in_each_line():
    """The line ends of an object of git are counted once for each kind of key."""
    key = make_keyring().mint("live").text
    data = Counted(f"GET / {key}\nsk-0123456789abcdef\n".encode() * 1000)
    hits = list(hits_in(KeyScanner(("ak",), ("sk-",)), data, len(data)))
    assert sorted(one.line for one in hits) == list(range(1, 2001))
    assert data.looked_at < 2 * len(data)
