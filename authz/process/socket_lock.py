"""A lock beside a Unix socket.

The system lets a second server bind the path of a first one, once the path is unlinked. The second
would silently take the traffic, and unlink the path again when it stops. So a server holds an flock
on `PATH.lock` while it serves PATH. A socket on which some other program answers is refused, too.
"""

import fcntl
import os
import socket
from pathlib import Path

from authz.core.errors import BadInput
from authz.core.listen_address import MAX_SOCKET_PATH


class SocketLock:
    """A lock that is held from `__init__` until `close`. setting: named in errors.

    path: of the Unix socket, empty for a TCP address; then nothing is locked. Raises BadInput if
    another live process holds it or answers there, if a file that is no socket is there, if the
    path is longer than MAX_SOCKET_PATH or the lock file cannot be made.
    """

    def __init__(self, setting: str, path: str) -> None:
        self._path = Path(path)
        self._fd = self._acquire(setting) if path else None
        self.owns_socket = False
        """True if the socket at the path is ours, so that we may remove it."""

    def remove_socket(self) -> None:
        """Remove our socket from the file system, so that no client connects any more.

        Does nothing unless `owns_socket` is True, and the second time. The lock stays.
        """
        if self.owns_socket and self._fd is not None:
            self.owns_socket = False
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove our socket and release the lock. May be called again.

        The lock file stays: removing it would race with the next holder.
        """
        self.remove_socket()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _acquire(self, setting: str) -> int:
        path = self._path
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise BadInput(setting, f"{path}: a socket path has at most {MAX_SOCKET_PATH} bytes")
        if path.exists() and not path.is_socket():
            problem = f"{path} is there and is not a socket; remove it or name another"
            raise BadInput(setting, problem)
        try:
            fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as cause:
            advice = "" if path.parent.exists() else f"; make the directory {path.parent}"
            raise BadInput(setting, f"{path}.lock: {cause.strerror}{advice}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_free = False
        else:
            is_free = not _is_answered(path)
        if not is_free:
            os.close(fd)
            problem = f"{path} is served by a live process; name another path"
            raise BadInput(setting, problem)
        return fd


def _is_answered(path: Path) -> bool:
    """Return whether a process listens at the path, also one whose backlog is full.

    False if there is no socket.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True
