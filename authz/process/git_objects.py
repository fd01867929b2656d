"""GitObjects: finds keys in all objects of a git repository, whether a commit names them or not.

Objects are the blobs (contents of files), trees (names of files), commits and tags (messages) of
the whole history. An object stays after its branch was deleted or its commit was amended.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import IO, Final, cast

from authz.core.errors import Unavailable
from authz.process.searched_bytes import BLOCK, BlockSearch, Hit
from authz.process.searched_files import Found

PIPE: Final = 1024 * 1024  # bytes that are read from git at once
MAX_NAMED: Final = 10_000  # objects in one `git log`, which walks the whole history
MAX_HEADER: Final = 256
MAX_COMPLAINT: Final = 300  # characters of git's own message
_THINGS: Final = frozenset({b"blob", b"tree", b"commit", b"tag"})
_HEADER_WORDS: Final = 3
# The configuration of a repository is not ours: no program of its choice may run.
_SAFE: Final = (
    *("--no-replace-objects", "-c", "log.showSignature=false", "-c", "core.fsmonitor=false"),
    *("-c", "log.showRoot=true", "-c", "core.quotePath=true", "-c", "core.hooksPath=/dev/null"),
)


class GitObjects:
    """The objects of the repository that a folder belongs to. objects: how many were read."""

    def __init__(self, folder: Path, search: BlockSearch) -> None:
        self._git = ("git", *_SAFE, "-C", os.fspath(folder))
        self._folder = os.fspath(folder)
        self._search = search
        self.objects = 0

    def is_shallow(self) -> bool:
        """Return whether the repository lacks a part of its history. Raises Unavailable."""
        return self._lines("rev-parse", "--is-shallow-repository") == ["true"]

    def found(self) -> list[Found]:
        """Return the keys of all objects, each with the first commit and a path of its object.

        Raises Unavailable if git is missing, fails, is killed, or stops in the middle.
        """
        hits = list(self._hits())
        places = self._places(sorted({oid for oid, thing, _ in hits if thing in {"blob", "tree"}}))
        found = []
        for oid, thing, hit in hits:
            commit, path = places.get(oid, (oid if thing == "commit" else "", ""))
            line = hit.line if thing != "tree" else 0
            found.append(Found(path or f"{self._folder}: {thing} {oid}", line, hit, commit, thing))
        return found

    def _hits(self) -> Iterator[tuple[str, str, Hit]]:
        words = ("cat-file", "--batch-all-objects", "--batch", "--unordered", "--buffer")
        with tempfile.TemporaryFile() as complaints, self._started(words, complaints) as git:
            stream = cast("BufferedReader", git.stdout)
            try:
                yield from self._each(stream)
            finally:
                stream.close()  # ends a git that still writes
                code = git.wait()
            if code:
                raise self._failed(code, complaints)

    def _each(self, stream: BufferedReader) -> Iterator[tuple[str, str, Hit]]:
        scanner = self._search.scanner
        while header := stream.readline(MAX_HEADER):
            oid, thing, size = _parsed(header)
            self.objects += 1
            if size <= BLOCK:
                data = stream.read(size + 1)
                if len(data) != size + 1:
                    raise _cut_off()
                self._search.bytes_read += size
                for one in scanner.find(data, size):
                    yield oid, thing, Hit(one.start, data.count(b"\n", 0, one.start) + 1, one)
                continue
            part = _Part(stream, size)
            for hit in self._search.hits(part, counts_lines=True):
                yield oid, thing, hit
            if part.left or stream.read(1) != b"\n":
                raise _cut_off()

    def _places(self, oids: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Return by object the first commit that brought it, and the path there."""
        places: dict[str, tuple[str, str]] = {}
        for first in range(0, len(oids), MAX_NAMED):
            wanted = oids[first : first + MAX_NAMED]
            lines = self._lines(
                *("log", "--all", "--reflog", "--reverse", "-m", "--raw", "-t", "--no-abbrev"),
                *("--no-renames", "--no-ext-diff", "--no-textconv", "--format=%H"),
                *(f"--find-object={oid}" for oid in wanted),
            )
            commit = ""
            for line in lines:
                if not line.startswith(":"):
                    commit = line or commit
                    continue
                about, _, path = line.partition("\t")
                places.setdefault(about.split(" ")[3], (commit, path))
        return places

    def _lines(self, *words: str) -> list[str]:
        with tempfile.TemporaryFile() as complaints, self._started(words, complaints) as git:
            text, _ = git.communicate()
            if git.returncode:
                raise self._failed(git.returncode, complaints)
        return text.decode("utf-8", "surrogateescape").splitlines()

    def _started(self, words: Sequence[str], complaints: IO[bytes]) -> "subprocess.Popen[bytes]":
        # Git sets GIT_DIR and others for its hooks; they would name another repository.
        kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
        set_here = {"LC_ALL": "C", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
        # Git before 2.39.4 fetches missing objects all the same, by a program of the repository.
        set_here["GIT_ALLOW_PROTOCOL"] = "none"
        try:
            return subprocess.Popen(  # noqa: S603  git, with options of ours
                (*self._git, *words),
                bufsize=PIPE,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=kept | set_here,
            )
        except OSError as cause:
            raise Unavailable(f"git cannot be started: {cause.strerror}") from None

    def _failed(self, code: int, complaints: IO[bytes]) -> Unavailable:
        complaints.seek(0)
        why = complaints.read(MAX_COMPLAINT).decode("utf-8", "replace").strip()
        ended = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
        return Unavailable(f"git in {self._folder} {ended}: {why or 'it said nothing'}")


class _Part:
    """The next `left` bytes of a stream, as a stream."""

    def __init__(self, stream: BufferedReader, left: int) -> None:
        self._stream = stream
        self.left = left

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._stream.readinto(buffer[: self.left])
        self.left -= count
        return count


def _parsed(header: bytes) -> tuple[str, str, int]:
    words = header.split()
    if len(words) != _HEADER_WORDS or not header.endswith(b"\n"):
        raise Unavailable("git did not read all objects: one is missing or damaged")
    oid, thing, size = words
    if thing not in _THINGS or not size.isdigit():
        raise Unavailable("git did not read all objects: one is missing or damaged")
    return oid.decode("ascii"), thing.decode("ascii"), int(size)


def _cut_off() -> Unavailable:
    return Unavailable("git stopped in the middle of an object")
