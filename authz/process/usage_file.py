"""UsageFile: follows a file of usage records, and hands each line on exactly once.

For an Envoy that writes the usage line with its file access logger, to where a meter can read it.

Rules:
1. A batch is a range of whole lines of one file. Its range is written to the cursor file before it
   is handed on. So after a crash the same range is handed on again, and its digest is known.
2. The cursor moves past a batch only after the batch was confirmed.
3. Inode and offset name a batch, together with its text: an inode is given out again.
4. A file that was renamed is read to its end, then the next newer one. The proxy goes on writing to
   a renamed file until it reopens its logs. So the end counts only after SETTLED without growth.
5. A file that became shorter is read from its beginning.
"""

import asyncio
import json
import logging
import os
import stat
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from authz.core.errors import BadInput

log = logging.getLogger("authz.usage")

MAX_BATCH: Final = 1024 * 1024  # bytes
PAUSE: Final = 0.25  # seconds between two looks at a file without news
SETTLED: Final = 2.0  # seconds without growth after which a renamed file has ended
MAX_CURSOR: Final = 4096  # bytes
NOT_LOGS: Final = (".gz", ".xz", ".bz2", ".zst", ".cursor", ".tmp")

Deliver = Callable[[bytes, Sequence[bytes]], Awaitable[bool]]
"""Takes the name of a batch and its lines. Returns when the batch is confirmed.

True if it is in the store. False if it is too old to be counted.
"""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position in a file. end: of the batch that begins at `offset`, or `offset` if none."""

    device: int
    inode: int
    offset: int
    end: int


class UsageFile:
    """Follows a file and its renamed predecessors.

    cursor: the file that remembers the position. pause, settled: seconds, see PAUSE and SETTLED.
    """

    def __init__(
        self,
        file: Path,
        cursor: Path,
        deliver: Deliver,
        *,
        pause: float = PAUSE,
        settled: float = SETTLED,
        max_batch: int = MAX_BATCH,
    ) -> None:
        self._file = file
        self._cursor_file = cursor
        self._deliver = deliver
        self._pause = pause
        self._settled = settled
        self._max_batch = max_batch
        self._opened: int | None = None
        self._problem = ""  # why the file could not be opened
        self._at = Cursor(0, 0, 0, 0)
        self._finished: set[tuple[int, int]] = set()

    async def run(self) -> None:
        """Hand batches on until cancelled.

        While the file cannot be opened it waits, and logs why. Raises BadInput if the cursor file
        cannot be read or written, or holds no position.
        """
        saved = self._read_cursor()
        if not os.access(self._cursor_file.parent, os.W_OK):
            raise BadInput("--cursor", f"{self._cursor_file.parent}: no directory to write into")
        told = ""
        try:
            while not self._begin(saved):
                if self._problem != told:
                    told = self._problem
                    log.warning("usage of %s is not counted: %s", self._file, told)
                await asyncio.sleep(self._pause)
            while True:
                if not await self._step():
                    await asyncio.sleep(self._pause)
                    if self._is_renamed():
                        await self._finish()
        finally:
            self._close()

    async def _step(self) -> bool:
        """Hand one batch on. Return False if there is none."""
        data = self._next()
        if not data:
            return False
        at = self._at
        self._save(Cursor(at.device, at.inode, at.offset, at.offset + len(data)))
        name = f"{at.device}:{at.inode}:{at.offset}\n".encode()
        if not await self._deliver(name + data, data.splitlines()):
            log.warning("usage at byte %d of %s is too old to be counted", at.offset, self._file)
        self._save(Cursor(at.device, at.inode, self._at.end, self._at.end))
        return True

    def _next(self) -> bytes:
        """Return whole lines from the position on: those of the unconfirmed batch, or new ones."""
        assert self._opened is not None  # noqa: S101  `run` opens it first
        at = self._at
        if os.fstat(self._opened).st_size < at.end:
            log.warning("%s became shorter; it is read from its beginning", self._file)
            at = self._at = Cursor(at.device, at.inode, 0, 0)
        if at.end > at.offset:
            return os.pread(self._opened, at.end - at.offset, at.offset)
        data = os.pread(self._opened, self._max_batch, at.offset)
        if len(data) == self._max_batch and b"\n" not in data:
            return data  # no line is that long; the reader refuses it
        return data[: data.rfind(b"\n") + 1]

    def _is_renamed(self) -> bool:
        try:
            found = self._file.stat()
        except OSError:
            return False  # its successor is not there yet
        return (found.st_dev, found.st_ino) != (self._at.device, self._at.inode)

    async def _finish(self) -> None:
        """Read a renamed file until it no longer grows, then open the next one."""
        waited = 0.0
        while waited < self._settled:
            if await self._step():
                waited = 0.0
            else:
                await asyncio.sleep(self._pause)
                waited += self._pause
        self._finished.add((self._at.device, self._at.inode))
        assert self._opened is not None  # noqa: S101
        ended = os.fstat(self._opened).st_mtime_ns
        newer = [file for file in self._family() if file.stat().st_mtime_ns >= ended]
        self._open((newer or [self._file])[0])

    def _begin(self, saved: Cursor | None) -> bool:
        """Open the file of the saved position; without one, the followed file from its beginning.

        Log a warning if the file of that position is gone. Return False if there is no file yet.
        """
        if saved is not None:
            for file in [*self._family(), self._file]:
                if self._open(file) and (self._at.device, self._at.inode) == (
                    saved.device,
                    saved.inode,
                ):
                    self._at = saved
                    return True
        is_open = self._open(self._file)
        if is_open and saved is not None:
            log.warning("the file of the last position is gone: usage may be missing")
        return is_open

    def _family(self) -> list[Path]:
        """Return the file and its renamed predecessors that are not finished, oldest first."""
        found, place = [], self._file.parent
        for file in place.iterdir() if place.is_dir() else ():
            name = file.name.removeprefix(self._file.name)
            is_ours = name == "" or name[0] in ".-"
            if not file.name.startswith(self._file.name) or not is_ours or name.endswith(NOT_LOGS):
                continue
            try:
                known = file.stat()
            except OSError:
                continue
            is_log = stat.S_ISREG(known.st_mode) and file != self._cursor_file
            if is_log and (known.st_dev, known.st_ino) not in self._finished:
                found.append((known.st_mtime_ns, name == "", file))
        return [file for *_, file in sorted(found)]

    def _open(self, file: Path) -> bool:
        try:
            opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as cause:
            self._problem = cause.strerror or str(cause)
            return False
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):  # it has no positions
            self._problem = "not a regular file"
            os.close(opened)
            return False
        self._close()
        self._opened, self._at = opened, Cursor(found.st_dev, found.st_ino, 0, 0)
        return True

    def _close(self) -> None:
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None

    # the cursor

    def _read_cursor(self) -> Cursor | None:
        try:
            with self._cursor_file.open("rb") as opened:
                text = opened.read(MAX_CURSOR)
            found = Cursor(**json.loads(text))
            is_sound = all(type(value) is int and value >= 0 for value in asdict(found).values())
        except FileNotFoundError:
            return None
        except OSError as cause:
            raise BadInput("--cursor", f"{self._cursor_file}: {cause.strerror}") from None
        except (ValueError, TypeError):
            is_sound = False
        if not is_sound:
            advice = "remove it to read the log from its beginning"
            raise BadInput("--cursor", f"{self._cursor_file}: no position; {advice}")
        return found

    def _save(self, at: Cursor) -> None:
        """Write the position in one step. It is on disk when this returns."""
        self._at = at
        place = self._cursor_file.parent
        try:
            with tempfile.NamedTemporaryFile(
                "w", dir=place, prefix=f"{self._cursor_file.name}.", suffix=".tmp", delete=False
            ) as written:
                json.dump(asdict(at), written)
                written.flush()
                os.fsync(written.fileno())
            Path(written.name).replace(self._cursor_file)
        except OSError as cause:
            raise BadInput("--cursor", f"{self._cursor_file}: {cause.strerror}") from None
