"""SearchedFiles: finds keys in files and folders. It follows no symbolic link in a folder."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from authz.process.searched_bytes import BlockSearch, Hit, LineNumbers

# Without O_NONBLOCK the opening of a pipe would wait for its writer.
_OPEN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
NO_FILE: Final = "is no file and no folder; `-` searches stdin"
_OBJECTS: Final = (".git", "objects")  # compressed: `GitObjects` reads them


@dataclass(frozen=True, slots=True)
class Found:
    """A key in a file or in an object of git. line: 0 if the key is in the name of the file.

    commit: the first commit that has the object, or empty. thing: `blob`, `commit`, `tag` or `tree`
    of git, else empty.
    """

    path: str
    line: int
    hit: Hit
    commit: str = ""
    thing: str = ""


class SearchedFiles:
    """Searches files. problem: is called with a path and a reason for each that cannot be read."""

    def __init__(self, search: BlockSearch, problem: Callable[[str, str], None]) -> None:
        self._search = search
        self._problem = problem
        self.files = 0
        """The number of files that were read."""

    def under(self, path: Path) -> Iterator[Found]:
        """Yield the keys in a file, or in all files of a folder and its folders.

        In folders, pipes, sockets and devices are left out, and so are `.git/objects`. A path that
        leads to one itself is a problem: its content was to be searched.
        """
        folders = [os.fspath(path)]
        if not is_folder(path):
            yield from self._in_file(folders.pop(), os.open, NO_FILE)
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as cause:
                self._problem(folder, cause.strerror or "")
                continue
            for entry in found:
                name = entry.path.removeprefix("./")  # as git and a forge name it
                yield from self._in_name(name, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    if (Path(folder).name, entry.name) != _OBJECTS:
                        folders.append(name)
                elif entry.is_file(follow_symlinks=False):
                    yield from self._in_file(name, _open_no_link)

    def _in_name(self, path: str, name: str) -> Iterator[Found]:
        raw = os.fsencode(name)
        for one in self._search.scanner.find(raw, len(raw)):
            yield Found(path, 0, Hit(0, 0, one))

    def _in_file(
        self, path: str, opener: Callable[[str, int], int], no_file: str = ""
    ) -> Iterator[Found]:
        try:
            with open(path, "rb", buffering=0, opener=lambda name, _: opener(name, _OPEN)) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    if no_file:
                        self._problem(path, no_file)
                    return
                self.files += 1
                lines = LineNumbers(file.fileno())
                for hit in self._search.hits(file, counts_lines=False):
                    yield Found(path, lines.of(hit.offset), hit)
        except (OSError, ValueError) as cause:  # ValueError: a NUL in the path
            self._problem(path, getattr(cause, "strerror", "") or "not a path")


def is_folder(path: Path) -> bool:
    """Return whether a path leads to a folder. False also if it cannot be looked at."""
    try:
        return path.is_dir()
    except OSError:  # for example a name that is too long: the opening of the file says so
        return False


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)
