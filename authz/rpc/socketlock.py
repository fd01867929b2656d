"""A lock beside a Unix socket.

A second server may bind the same path without an error: it takes the traffic silently, and unlinks
the path of the first when it stops. So whoever serves a path holds an flock on `PATH.lock`.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from authz.core.errors import BadInput

MAX_PATH_BYTES: Final = 107  # sockaddr_un


class SocketLock:
    """Held from `__init__` until `release`. Raises BadInput when another process holds it."""

    def __init__(self, field: str, path: str) -> None:
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise BadInput(field, f"{path}: a socket path has at most {MAX_PATH_BYTES} bytes")
        there = Path(path)
        if there.exists() and not there.is_socket():
            raise BadInput(field, f"{path} is there and is not a socket; remove it or name another")
        try:
            self._fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as cause:
            raise BadInput(field, f"{path}.lock: {cause.strerror}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise BadInput(
                field, f"{path} is served by a live process; name another path"
            ) from None

    def release(self) -> None:
        """Give the path up. The lock file stays: removing it would race with the next holder."""
        os.close(self._fd)
