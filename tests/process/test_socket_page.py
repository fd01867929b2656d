"""Pages of processes of this machine, over Unix sockets."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from authz.process import socket_page
from authz.process.socket_page import get
from tests.support.real import PATIENCE

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n"


@contextmanager
def answering(directory: Path, answer: bytes) -> Iterator[str]:
    """Yield the path of a socket that gives one client this answer and closes."""
    path = str(directory / "page.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


def test_a_whole_page_is_returned(tmp_path: Path) -> None:
    """With its status."""
    with answering(tmp_path, HEAD + b"authz_x 1234") as path:
        assert get(path, "/metrics", 5.0) == (200, b"authz_x 1234")


def test_a_page_that_ends_early_is_no_answer(tmp_path: Path) -> None:
    """Its process ended while it wrote: `authz_x 12` would be a wrong value."""
    with answering(tmp_path, HEAD + b"authz_x 12") as path:
        assert get(path, "/metrics", 5.0) is None


def test_a_page_that_is_too_long_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of it would end in the middle of a line."""
    monkeypatch.setattr(socket_page, "MAX_PAGE", 10)
    with answering(tmp_path, HEAD + b"authz_x 1234") as path:
        assert get(path, "/metrics", 5.0) is None


@contextmanager
def full(directory: Path) -> Iterator[tuple[str, socket.socket]]:
    """Yield the path of a socket that nobody accepts from, with a full queue, and the socket."""
    path = str(directory / "page.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with suppress(BlockingIOError):
            while True:
                with socket.socket(socket.AF_UNIX) as client:
                    client.setblocking(False)
                    client.connect(path)
        yield path, listener


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    """A process that hangs accepts nobody, and the kernel refuses a connection at once."""
    with full(tmp_path) as (path, _):
        began = time.monotonic()
        assert get(path, "/readyz", 0.2) is None
        assert time.monotonic() - began >= 0.2


def test_a_full_queue_that_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy process accepts a connection within the time, and its page is returned."""
    answering = list[threading.Thread]()

    def serve(listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            with client:
                if client.recv(4096):
                    client.sendall(HEAD + b"authz_x 1234")
                    return

    with full(tmp_path) as (path, listener):

        def accept(_seconds: float) -> None:
            if not answering:
                answering.append(threading.Thread(target=serve, args=(listener,)))
                answering[0].start()
            threading.Event().wait(0.01)

        monkeypatch.setattr(socket_page, "sleep", accept)
        assert get(path, "/readyz", PATIENCE) == (200, b"authz_x 1234")
        answering[0].join()


def test_no_process_is_no_answer(tmp_path: Path) -> None:
    """Nothing listens at the path."""
    assert get(str(tmp_path / "page.sock"), "/metrics", 5.0) is None
