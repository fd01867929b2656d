"""Search the objects of a pack for keys, each object from its base, in several processes.

Here a base is unpacked once, and all objects that are made from it follow. An object that cannot
be read here is not `done`: the caller asks git for it.
"""

import multiprocessing
import os
import signal
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Final, NamedTuple

from authz.core.errors import Unavailable, Unreadable
from authz.core.keys.scanning import KeyScanner
from authz.process.git_pack import Pack
from authz.process.pack_format import THINGS, applied
from authz.process.searched_bytes import Hit

MAX_OBJECT: Final = 4 * 1024 * 1024  # bytes; git reads larger ones in blocks
MAX_HELD: Final = 64 * 1024 * 1024  # bytes of bases whose objects wait, in one process
LEAST_SHARED: Final = 8 * 1024 * 1024  # bytes of packs from which several processes are faster
MAX_PROCESSES: Final = 8


class PackHit(NamedTuple):
    """A key in an object of a pack. number: of the entry."""

    number: int
    thing: str
    hit: Hit


@dataclass(slots=True)
class Searched:
    """A search of some entries. done: the numbers of those that were read to their end."""

    done: "array[int]" = field(default_factory=lambda: array("I"))
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

    def search(self, first: int, step: int) -> Searched:
        """Search each `step`th root from the one at `first` on."""
        found, pack = Searched(), self._pack
        for root in islice(pack.roots, first, None, step):
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
        return found

    def _made(self, base: bytes, number: int) -> bytes | None:
        """Return the object of an entry with this base, or None if git has to read it."""
        try:
            return applied(base, self._pack.content(number, MAX_OBJECT), MAX_OBJECT)
        except Unreadable:
            return None

    def _look(self, number: int, thing: str, content: bytes, found: Searched) -> None:
        found.done.append(number)
        size = len(content)
        found.bytes_read += size
        if self._scanner.is_clean(content):
            return
        for one in self._scanner.find(content, size):
            line = content.count(b"\n", 0, one.start) + 1
            found.hits.append(PackHit(number, thing, Hit(one.start, line, one)))


def searched(packs: Sequence[Pack], scanner: KeyScanner) -> list[list[Searched]]:
    """Return the searches of each pack, which together have all of its roots.

    From LEAST_SHARED (8 MiB) on several processes share the work: one for each processor, at most
    MAX_PROCESSES (8). Raises Unavailable if one of them ends early.
    """
    searches = [PackSearch(pack, scanner) for pack in packs]
    count = min(len(os.sched_getaffinity(0)), MAX_PROCESSES)
    if count == 1 or sum(pack.size for pack in packs) < LEAST_SHARED:
        return [[one.search(0, 1)] for one in searches]
    # A copy of this process has the open packs already, and one that lost us ends by itself.
    context, works = multiprocessing.get_context("fork"), list[_Work]()
    for first in range(count):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(theirs, searches, first, count), daemon=True)
        process.start()
        theirs.close()
        works.append(_Work(process, ours))
    found = [_received(work) for work in works]
    return [[share[at] for share in found] for at in range(len(packs))]


def not_done(pack: Pack, searches: Sequence[Searched]) -> list[bytes]:
    """Return the names of the objects that were not searched, in the order of the pack."""
    done = bytearray(pack.count)
    for one in searches:
        for number in one.done:
            done[number] = 1
    return [pack.name(number) for number, is_done in enumerate(done) if not is_done]


def _send(link: Connection, searches: Sequence[PackSearch], first: int, step: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # our end is its end, without a traceback
    link.send([one.search(first, step) for one in searches])


def _received(work: _Work) -> list[Searched]:
    try:
        found: list[Searched] = work.link.recv()
    except EOFError:
        raise Unavailable("a process of the search was ended") from None
    work.process.join()
    return found
