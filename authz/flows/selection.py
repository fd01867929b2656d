"""Selection: finds the keys that a selector picks, page by page or all of them.

It reads the store's indexes of keys in order of creation, and of each key only as much as decides.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from authz.core.admin_ports import KeyIndex
from authz.core.errors import BadInput, Unreadable
from authz.core.fields import shown
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.selector import Position, Screen, Selector

if TYPE_CHECKING:  # most selections do not ask for usage
    from authz.flows.usage.last_use import LastUse

CHUNK: Final = 500  # records read in one call
SCREENED: Final = 1000  # keys of which some fields are read in one call
MAX_SCANNED: Final = 100_000  # keys looked at for one page: about a second
MAX_READ: Final = 10_000  # records read for one page

_CURSOR: Final = re.compile(r"([0-9A-Za-z]{16})(?:-(\d{1,15}))?", re.ASCII)


Keep = Callable[[KeyRecord], bool]
"""Return whether the reader may see a key."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a list. record: None if it cannot be read or is not there; `why`: the reason."""

    kid: str
    record: KeyRecord | None
    why: str = ""


@dataclass(slots=True)
class Cost:
    """The cost of a selection. scanned: keys looked at. read: records read as a whole."""

    scanned: int = 0
    read: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """One page of keys. `next`: the cursor of the next page, None at the end."""

    entries: tuple[Entry, ...]
    next: str | None
    cost: Cost


@dataclass(frozen=True, slots=True)
class _Step:
    """The selected keys of one call. last: the last key looked at, None at the end of the list."""

    entries: tuple[tuple[Position, Entry], ...]
    last: Position | None


class Selection:
    """Finds the keys that a selector picks, oldest first or newest first.

    A key whose record cannot be read is found, too, unless fields that can be read exclude it. All
    methods raise Unavailable if the store fails. last_use: is called once, for the
    first condition on the latest use. Without it, and if usage was not counted for long enough,
    such a condition raises BadInput.
    """

    def __init__(
        self, index: KeyIndex, clock: Clock, last_use: "Callable[[], LastUse] | None" = None
    ) -> None:
        self._index = index
        self._clock = clock
        self._last_use = last_use and cache(last_use)

    async def page(
        self,
        selector: Selector,
        limit: int,
        cursor: str = "",
        keep: Keep | None = None,
        *,
        is_newest_first: bool = False,
    ) -> Page:
        """Return at most `limit` keys that follow `cursor`; the first ones if it is empty.

        keep: leaves out keys that the reader may not see, and all keys that cannot be read.
        A page may have fewer keys, even none, and still a next page: it looks at no more than
        MAX_SCANNED (100,000) keys and reads no more than MAX_READ (10,000) records. A cursor stays
        good when its key changes or is deleted. Raises BadInput if `cursor` is not a cursor.
        """
        cost, found, width = Cost(), list[tuple[Position, Entry]](), limit
        after = await self._position(cursor)
        while cost.scanned < MAX_SCANNED and cost.read < MAX_READ:
            width = min(width, MAX_SCANNED - cost.scanned, MAX_READ - cost.read)
            step = await self._step(selector, after, cost, width, is_newest_first)
            found += [row for row in step.entries if _is_kept(row[1], keep)]
            if len(found) > limit or (len(found) == limit and step.last):
                return Page(_entries(found[:limit]), cursor_text(found[limit - 1][0]), cost)
            if step.last is None:
                return Page(_entries(found), None, cost)
            after, width = step.last, _next_width(width, limit, len(found), cost.scanned)
        return Page(_entries(found), cursor_text(after) if after else None, cost)

    async def each(
        self, selector: Selector, cost: Cost | None = None, keep: Keep | None = None
    ) -> AsyncIterator[Entry]:
        """Yield every selected key. cost: is added to while it goes on. keep: as for `page`.

        Keys that are issued meanwhile are found.
        """
        after: Position | None = None
        while True:
            step = await self._step(selector, after, cost or Cost(), SCREENED)
            for _, entry in step.entries:
                if _is_kept(entry, keep):
                    yield entry
            if step.last is None:
                return
            after = step.last

    async def read(self, kids: Sequence[str]) -> list[Entry]:
        """Return an entry for each kid, in order, as the keys are now.

        A kid without a record gets an entry with the reason. Reads all in one call: pass at most
        CHUNK (500) kids.
        """
        found = await self._index.read(kids)
        return [_entry(kid, record) for kid, record in zip(kids, found, strict=True)]

    async def _step(
        self,
        selector: Selector,
        after: Position | None,
        cost: Cost,
        width: int,
        is_newest_first: bool = False,
    ) -> _Step:
        """Look at the next `width` keys, or at fewer if whole records of them have to be read."""
        now = self._clock.wall_ms()
        screen = Screen(selector, now)
        size = min(width, SCREENED if screen.fields else CHUNK)
        places = await self._index.kids(
            selector.client_id, after, size + 1, is_newest_first=is_newest_first
        )
        last = places[size - 1] if len(places) > size else None
        places = places[:size]
        cost.scanned += len(places)
        if selector.created_before is not None and places:
            old = [place for place in places if place.created_at < selector.created_before]
            if not is_newest_first and len(old) < len(places):
                last = None  # all that follow are newer
            places = old
        if screen.fields:
            rows = await self._index.texts([place.kid for place in places], screen.fields)
            places = [p for p, row in zip(places, rows, strict=True) if screen.passes(row)]
        if selector.unused_since is not None:
            places = await self._unused(places, selector.unused_since)
        found: list[tuple[Position, Entry]] = []
        for start in range(0, len(places), CHUNK):
            part = places[start : start + CHUNK]
            cost.read += len(part)
            entries = await self.read([place.kid for place in part])
            found += [
                (place, entry)
                for place, entry in zip(part, entries, strict=True)
                if entry.record is None or selector.matches(entry.record, now)
            ]
        return _Step(tuple(found), last)

    async def _unused(self, places: Sequence[Position], since: int) -> Sequence[Position]:
        if self._last_use is None:
            raise BadInput("unused-for", "is not available here")
        unused = await self._last_use().unused(places, since)
        return [place for place in places if place.kid in unused]

    async def _position(self, cursor: str) -> Position | None:
        """Return the position of a cursor, None for "". A kid alone is a cursor, too.

        Raises BadInput if the text is no cursor, or a kid alone has no readable record.
        """
        if not cursor:
            return None
        kid, created_at = split_cursor("cursor", cursor)
        if created_at is not None:
            return Position(int(created_at), kid)
        (record,) = await self._index.read([kid])
        if not isinstance(record, KeyRecord):
            raise BadInput("cursor", f"{kid} is no key that can be read; begin without a cursor")
        return Position(record.created_at, kid)


async def first(
    entries: AsyncIterator[Entry],
    limit: int | None,
    order: Callable[[KeyRecord], Any],
    *,
    is_reversed: bool = False,
) -> tuple[Entry, ...]:
    """Return the first `limit` of these keys in another order; None: all of them.

    order: returns the sort key of a record. Takes all of `entries`, and keeps at most 2 * `limit` +
    CHUNK (500) records in memory. Unreadable keys come last, also if `is_reversed`.
    """
    unreadable: list[Entry] = []
    kept: list[tuple[KeyRecord, Entry]] = []

    def cut() -> None:
        kept.sort(key=lambda pair: order(pair[0]), reverse=is_reversed)
        if limit is not None:
            del kept[limit:]

    async for entry in entries:
        if entry.record is None:
            unreadable.append(entry)
            continue
        kept.append((entry.record, entry))
        if limit is not None and len(kept) >= 2 * limit + CHUNK:
            cut()
    cut()
    return (*(entry for _, entry in kept), *unreadable)[:limit]


def split_cursor(field: str, text: str) -> tuple[str, str | None]:
    """Return the kid of a cursor, and its time of creation as text (ms since the epoch), or None.

    A kid alone has no time. Raises BadInput about `field` if the text is no cursor.
    """
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise BadInput(field, f"{shown(text)}: the `next` of a page, or a kid")
    return match[1], match[2]


def cursor_text(place: Position) -> str:
    """Return the cursor after this key."""
    return f"{place.kid}-{place.created_at}"


def _next_width(width: int, wanted: int, found: int, scanned: int) -> int:
    """Return how many keys to look at next, by the share of them that fitted until now.

    So a page that most keys fit reads few records in vain, and a search that nothing fits takes few
    round trips.
    """
    if not found:
        return min(4 * width, SCREENED)
    return min(max(1, -(-(wanted + 1 - found) * scanned // found)), SCREENED)


def _is_kept(entry: Entry, keep: Keep | None) -> bool:
    return keep is None or (entry.record is not None and keep(entry.record))


def _entries(found: Sequence[tuple[Position, Entry]]) -> tuple[Entry, ...]:
    return tuple(entry for _, entry in found)


def _entry(kid: str, found: KeyRecord | Unreadable | None) -> Entry:
    if isinstance(found, KeyRecord):
        return Entry(kid, found)
    why = str(found) if isinstance(found, Unreadable) else f"record {kid}: is not there"
    return Entry(kid, None, why)
