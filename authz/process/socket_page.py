"""GET a page from a process of this machine, over its Unix socket."""

import http.client
import socket
from time import monotonic, sleep
from typing import Final

MAX_PAGE: Final = 8 * 1024 * 1024  # bytes
PAUSE: Final = 0.02  # seconds between two tries to connect


def get(path: str, page: str, seconds: float) -> tuple[int, bytes] | None:
    """Return status and body of `page` from the Unix socket at `path`; None if it does not answer.

    seconds: for connecting, and for each wait for bytes. Also None if the answer ends early, or if
    its body has more than MAX_PAGE (8 MiB).
    """
    connection = _Connection(path, seconds)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        body = response.read(MAX_PAGE)
        return None if response.length or response.read(1) else (response.status, body)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path
        self._seconds = seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self._seconds)
        deadline = monotonic() + self._seconds
        while True:
            try:
                self.sock.connect(self._path)
            except BlockingIOError:  # the queue of the listener is full; the kernel does not wait
                if monotonic() >= deadline:
                    raise
                sleep(PAUSE)
            else:
                return
