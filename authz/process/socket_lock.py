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
    """Held from `__init__` until `release`. Raises BadInput when another process holds it.

    path: empty for an address that has none, and nothing is held.
    """

    def __init__(self, field: str, path: str) -> None:
        self._path = Path(path)
        self._fd = self._acquire(field) if path else None

    def release(self) -> None:
        """Give the path up. The lock file stays: removing it would race with the next holder."""
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None

    def _acquire(self, field: str) -> int:
        path = self._path
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise BadInput(field, f"{path}: a socket path has at most {MAX_PATH_BYTES} bytes")
        if path.exists() and not path.is_socket():
            raise BadInput(field, f"{path} is there and is not a socket; remove it or name another")
        try:
            fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as cause:
            raise BadInput(field, f"{path}.lock: {cause.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise BadInput(
                field, f"{path} is served by a live process; name another path"
            ) from None
        return fd
