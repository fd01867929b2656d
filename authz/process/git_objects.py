"""GitObjects: finds keys in all objects of a git repository, whether a commit names them or not.

Objects are the blobs (contents of files), trees (names of files), commits and tags (messages) of
the whole history. An object stays after its branch was deleted or its commit was amended.

Git lists the objects. Those in packs are read here, which is faster (`pack_search`). Git reads the
others, and each that was not understood here.
"""

import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Final

from authz.core.errors import Unavailable
from authz.process import git_packs, git_pipes
from authz.process.git_command import GitCommand, temporary_file
from authz.process.git_places import Place, first_places
from authz.process.pack_search import not_done, search_of
from authz.process.searched_bytes import BLOCK, BlockSearch, Hit, hits_in
from authz.process.searched_files import Found

MAX_HEADER: Final = 256
_THINGS: Final = frozenset({b"blob", b"tree", b"commit", b"tag"})
_HEADER_WORDS: Final = 3
_LIST: Final = ("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
_READ_ALL: Final = ("cat-file", "--batch-all-objects", "--batch", "--unordered", "--buffer")
_READ: Final = ("cat-file", "--batch", "--buffer")
# In the configuration of a clone with a filter.
_PARTIAL: Final = re.compile(r"extensions\.partialclone|remote\..*\.promisor", re.DOTALL)

_ObjectHit = tuple[str, str, Hit]  # name and kind of the object


class GitObjects:
    """The objects of the repository that a folder belongs to. objects: how many were read."""

    def __init__(self, folder: Path, search: BlockSearch) -> None:
        self._git = GitCommand(folder)
        self._path = folder
        self._folder = os.fspath(folder)
        self._search = search
        self.objects = 0

    def gap(self) -> str:
        """Return why a part of the history is not here; empty if it should be. Raises Unavailable.

        Git lists the objects that are here and says nothing of the others.
        """
        git_pipes.check(self._path)
        if self._git.lines("rev-parse", "--is-shallow-repository") == ["true"]:
            return "the clone is shallow, so older commits are not here: run git fetch --unshallow"
        names = self._git.lines("config", "--list", "--name-only")
        if any(map(_PARTIAL.fullmatch, names)):
            why = "the clone is partial, so objects that its filter left out are not here"
            return f"{why}: clone without --filter"
        return ""

    def found(self) -> Iterator[Found]:
        """Yield the keys of all objects, each with the first commit and a path of its object.

        Raises Unavailable if git is missing, fails, is killed, stops in the middle, or leaves
        something out. The keys that were found by then come first.
        """
        hits, failure = dict[tuple[str, int], _ObjectHit](), ""
        places: Mapping[str, Place] = {}
        try:
            for oid, thing, hit in self._hits():
                hits[oid, hit.offset] = oid, thing, hit
        except Unavailable as cause:
            failure = str(cause)
        try:
            named = {oid for oid, thing, _ in hits.values() if thing in {"blob", "tree"}}
            places = first_places(self._git, sorted(named))
        except Unavailable as cause:
            failure = failure or str(cause)
        for oid, thing, hit in hits.values():
            commit, path = places.get(oid, (oid if thing == "commit" else "", ""))
            line = hit.line if thing != "tree" else 0
            yield Found(path or f"{self._folder}: {thing} {oid}", line, hit, commit, thing)
        if failure or self._git.left_out:
            raise Unavailable(failure or f"git went on after: {self._git.left_out}")

    def _hits(self) -> Iterator[_ObjectHit]:
        git_pipes.check(self._path)
        packs = git_packs.opened(self._git, self._path)
        with search_of(packs, self._search.scanner) as search:
            with self._git.output(_LIST) as stream:
                listed = git_packs.listed(stream, packs)
            searches = search() if listed is not None else []
        if listed is None:
            with self._git.output(_READ_ALL) as stream:
                self.objects += yield from self._each(stream)
            return
        names: list[bytes] = []
        for pack, one in zip(packs, searches, strict=True):
            self._search.bytes_read += one.bytes_read
            for number, thing, hit in one.hits:
                yield pack.name(number).hex(), thing, hit
            names += not_done(pack, one)
        names += listed.others
        if names:
            yield from self._read(names)
        self.objects += listed.objects

    def _read(self, names: Sequence[bytes]) -> Iterator[_ObjectHit]:
        """Search these objects as git prints them, in this order."""
        lines = (f"{name.hex()}\n".encode() for name in names)
        with temporary_file(lines) as given, self._git.output(_READ, given) as stream:
            number = yield from self._each(stream)
        if number != len(names):
            raise _cut_off()

    def _each(self, stream: BufferedReader) -> Generator[_ObjectHit, None, int]:
        """Search the objects that git prints. Return how many."""
        scanner, number = self._search.scanner, 0
        while header := stream.readline(MAX_HEADER):
            oid, thing, size = _parsed(header)
            number += 1
            if size <= BLOCK:
                data = stream.read(size + 1)
                if len(data) != size + 1:
                    raise _cut_off()
                self._search.bytes_read += size
                for hit in hits_in(scanner, data, size):
                    yield oid, thing, hit
                continue
            part = _Part(stream, size)
            for hit in self._search.hits(part, counts_lines=True):
                yield oid, thing, hit
            if part.left or stream.read(1) != b"\n":
                raise _cut_off()
        return number


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
