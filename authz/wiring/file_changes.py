"""Changes of the settings file and of the files that it includes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from authz.core.errors import BadInput

SETTLE_SECONDS: Final = 0.1  # between two looks at the files after SIGHUP

Stamp = tuple[int, int, int]  # inode, size, time of the last change
Stamps = tuple[Stamp | None, ...]  # None: the file is missing


class FileChanges:
    """Changes of files, also of one that a symbolic link now names (a Kubernetes ConfigMap).

    A change is another inode, size or modification time. list_files: returns the settings file and
    those that it includes; none: no changes.
    """

    def __init__(self, list_files: Callable[[], Sequence[Path]]) -> None:
        self._list_files = list_files
        self.files: Sequence[Path] = ()
        self._loaded: Stamps = ()
        self.follow()
        self._seen: Stamps = self._loaded

    def follow(self) -> None:
        """Watch the files that the settings name now. Call it before the settings are read.

        Other files than before count as taken, as they are now. If the settings file cannot be
        read, the files stay the same.
        """
        before = self.files
        with suppress(BadInput):  # who reads the settings reports it
            self.files = tuple(self._list_files())
        if self.files != before:
            self._loaded = self.stamps()

    def take(self) -> bool:
        """Return True once for each change, when the files look the same in two calls.

        The first look may find a file that is only half written. False while the settings file is
        missing, and while another file has gone and the settings file is as it was taken.
        """
        before, self._seen = self._seen, self.stamps()
        if self._seen in (self._loaded, ()) or self._seen != before or self._is_incomplete():
            return False
        self._loaded = self._seen
        return True

    def _is_incomplete(self) -> bool:
        now, taken = self._seen, self._loaded
        if now[0] is None or now[0] != taken[0]:  # a new settings file may name other files
            return now[0] is None
        return any(one is None and known for one, known in zip(now, taken, strict=True))

    async def settle(self, wait: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Wait until two looks at the files, SETTLE_SECONDS apart, agree.

        Then that state counts as taken.
        """
        self._seen = self.stamps()
        while True:
            await wait(SETTLE_SECONDS)
            before, self._seen = self._seen, self.stamps()
            if self._seen == before:
                break
        self._loaded = self._seen

    def stamps(self) -> Stamps:
        """Return the state of each file; None for one that is missing or has no possible name."""
        return tuple(_stamp(file) for file in self.files)


def _stamp(file: Path) -> Stamp | None:
    try:
        found = file.stat()
    except (OSError, ValueError):  # ValueError: a name with a null character
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
