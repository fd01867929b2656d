"""Search the objects of a pack for keys, each object from its base, in several processes.

Here a base is unpacked once, and all objects that are made from it follow. An object that cannot
be read here is not `done`: the caller asks git for it.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Final, NamedTuple

from authz.core.errors import Unavailable, Unreadable
from authz.core.keys.scanning import KeyScanner
from authz.process.git_pack import Pack
from authz.process.key_beginnings import holder
from authz.process.pack_format import THINGS, applied
from authz.process.searched_bytes import Hit, hits_in

MAX_OBJECT: Final = 4 * 1024 * 1024  # bytes; git reads larger ones in blocks
MAX_HELD: Final = 64 * 1024 * 1024  # bytes of bases whose objects wait, in one process
LEAST_SHARED: Final = 8 * 1024 * 1024  # bytes of packs from which several processes are faster
MAX_PROCESSES: Final = 8
UNITS: Final = bytes(range(256))  # a process that is free takes the next part of the roots


class PackHit(NamedTuple):
    """A key in an object of a pack. number: of the entry."""

    number: int
    thing: str
    hit: Hit


@dataclass(slots=True)
class Searched:
    """A search of some entries of a pack. done: a byte for each entry; 1 if it was searched."""

    done: bytearray
    hits: list[PackHit] = field(default_factory=list)
    bytes_read: int = 0


class _Waiting(NamedTuple):
    """An object of which others are made, and those that are not made yet."""

    content: bytes
    entries: list[int]


class _Work(NamedTuple):
    """A process that searches, and the link on which it sends what it found."""

    process: ForkProcess
    link: Connection


class PackSearch:
    """Searches entries of a pack with everything that is made from them."""

    def __init__(self, pack: Pack, scanner: KeyScanner) -> None:
        self._pack = pack
        self._scanner = scanner
        self._holds_beginning = holder(scanner.beginnings)

    def begin(self) -> Searched:
        """Return a search of no entry."""
        return Searched(bytearray(self._pack.count))

    def search(self, unit: int, found: Searched) -> None:
        """Search the roots of one of the UNITS, and add to `found`."""
        pack, count = self._pack, len(self._pack.roots)
        for root in pack.roots[count * unit // len(UNITS) : count * (unit + 1) // len(UNITS)]:
            thing = THINGS[pack.kind(root)]
            held, waiting = 0, list[_Waiting]()
            try:
                content = pack.content(root, MAX_OBJECT)
            except Unreadable:
                continue
            number = root
            while True:
                self._look(number, thing, content, found)
                entries = list(pack.children(number))
                if entries and held + len(content) <= MAX_HELD:
                    held += len(content)
                    waiting.append(_Waiting(content, entries))
                made = None
                while waiting and made is None:
                    base, entries = waiting[-1]
                    number = entries.pop()
                    if not entries:
                        waiting.pop()
                        held -= len(base)
                    made = self._made(base, number)
                if made is None:
                    break
                content = made

    def _made(self, base: bytes, number: int) -> bytes | None:
        """Return the object of an entry with this base, or None if git has to read it."""
        try:
            return applied(base, self._pack.content(number, MAX_OBJECT), MAX_OBJECT)
        except Unreadable:
            return None

    def _look(self, number: int, thing: str, content: bytes, found: Searched) -> None:
        found.done[number] = 1
        size = len(content)
        found.bytes_read += size
        if not self._holds_beginning(content):
            return
        found.hits += (PackHit(number, thing, hit) for hit in hits_in(self._scanner, content, size))


@contextmanager
def search_of(packs: Sequence[Pack], scanner: KeyScanner) -> Iterator[Callable[[], list[Searched]]]:
    """Yield a function that returns the search of each pack with all of its roots.

    From LEAST_SHARED (8 MiB) on several processes search during the block: one for each processor,
    at most MAX_PROCESSES (8). Raises Unavailable if they cannot be started. The function waits for
    them, and raises Unavailable if one of them ends early.
    """
    searches = [PackSearch(pack, scanner) for pack in packs]
    count = min(len(os.sched_getaffinity(0)), MAX_PROCESSES)
    if count == 1 or sum(pack.size for pack in packs) < LEAST_SHARED:
        yield lambda: _searched(searches, UNITS)
        return
    works = list[_Work]()
    try:
        _start(works, searches, count)
        yield lambda: [_joined(shares) for shares in zip(*map(_received, works), strict=True)]
    finally:
        for work in works:
            work.process.kill()
            work.process.join()
            work.link.close()


def _searched(searches: Sequence[PackSearch], units: Iterable[int]) -> list[Searched]:
    found = [one.begin() for one in searches]
    for unit in units:
        for one, into in zip(searches, found, strict=True):
            one.search(unit, into)
    return found


def _start(works: list[_Work], searches: Sequence[PackSearch], count: int) -> None:
    """Add to `works` processes that share the work: each takes the next unit from one pipe."""
    # A copy of this process has the open packs already.
    context, parent = multiprocessing.get_context("fork"), os.getpid()
    try:
        with open(_written(UNITS), "rb", buffering=0) as units:
            for _ in range(count):
                ours, theirs = context.Pipe(duplex=False)
                inherited = [*(work.link for work in works), ours]
                work = (theirs, inherited, searches, _taken(units, parent))
                process = context.Process(target=_send, args=work, daemon=True)
                process.start()
                theirs.close()
                works.append(_Work(process, ours))
    except OSError as cause:
        raise Unavailable(f"no process can be started to search: {cause.strerror}") from None


def _written(data: bytes) -> int:
    """Return the end of a pipe from which these bytes can be read."""
    ours, given = os.pipe()
    os.write(given, data)
    os.close(given)
    return ours


def _taken(units: FileIO, parent: int) -> Iterator[int]:
    """Take units until none is left, or the process that wants the result is gone."""
    while os.getppid() == parent and (unit := units.read(1)):
        yield unit[0]


def _joined(shares: Iterable[Searched]) -> Searched:
    """Return one search of what several processes searched, with its hits in order of the pack."""
    found, *others = shares
    for one in others:
        done = int.from_bytes(found.done) | int.from_bytes(one.done)
        found.done[:] = done.to_bytes(len(found.done))
        found.hits += one.hits
        found.bytes_read += one.bytes_read
    found.hits.sort(key=lambda one: one.number)
    return found


def not_done(pack: Pack, search: Searched) -> list[bytes]:
    """Return the names of the objects that were not searched, in the order of the pack."""
    names, number = list[bytes](), -1
    while (number := search.done.find(0, number + 1)) >= 0:
        names.append(pack.name(number))
    return names


def _send(
    link: Connection,
    inherited: Sequence[Connection],
    searches: Sequence[PackSearch],
    units: Iterable[int],
) -> None:
    """Search these units and send what was found. inherited: the read ends of the first process."""
    # The first process ends this one, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for end in inherited:
        end.close()  # while it is open here, a write does not fail after the reader has gone
    found = _searched(searches, units)
    with suppress(BrokenPipeError):
        link.send(found)


def _received(work: _Work) -> list[Searched]:
    try:
        found: list[Searched] = work.link.recv()
    except (EOFError, OSError):  # it sent nothing, or only a part
        raise Unavailable("a process of the search was ended") from None
    work.process.join()
    return found
