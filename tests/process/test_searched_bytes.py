"""Keys in streams, such as stdin."""

import os
import threading
import time

import pytest

from authz.core.keys.scanning import KeyScanner
from authz.process.searched_bytes import BlockSearch, Waiting
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
