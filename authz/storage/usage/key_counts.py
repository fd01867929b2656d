"""The counts of a key from all places in which they are: which commands read them, and their sums.

The places are the open usage, the packed counts, and rows in hashes, which an earlier version
wrote. Folding moves counts from one to another, so the commands of a key have to be run at one
moment.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from authz.core.errors import Unreadable
from authz.core.usage.counts import Counts, Level
from authz.storage.usage import packed_counts, rows
from authz.storage.usage.open_usage import OpenUsage, open_usage

OPEN: Final = ":o"
ROUTES: Final = 10_000  # a field of hours is: hour in its window * ROUTES + number of the route
Command = tuple[str, ...]
Sums = dict[tuple[int, int], Counts]
"""Counts by slot and number of the route; 0: no route, and always except by hours."""


def windows_of(level: Level, slots: range) -> range:
    """Return the numbers of the windows that have some of these slots."""
    if not slots:
        return range(0)
    return range(slots[0] // level.window, slots[-1] // level.window + 1)


def commands(name: str, level: Level, slots: range) -> list[Command]:
    """Return the commands that read the counts of a key. name: of its hash."""
    opened = ("GET", name + OPEN)
    if not slots:
        return [opened]
    if level is Level.MONTH:
        return [opened, ("HMGET", name, *_months(slots))]
    return [opened, ("GET", packed_name(name, level)), *_of_hashes(name, level, slots)]


def sums(level: Level, slots: range, replies: Sequence[Any]) -> Sums:
    """Return the counts of these slots from the replies to `commands`. Raises Unreadable."""
    found: Sums = {}
    opened, *others = replies
    add_open(found, level, slots, open_usage(opened))
    if level is Level.MONTH:
        for month, text in zip(slots, others[0] if others else (), strict=True):
            if text is not None:
                _add(found, month, 0, rows.counts(f"y{month}", text))
        return found
    if others:
        add_packed(found, level, slots, others[0])
    for window, reply in zip(windows_of(level, slots), others[1:], strict=True):
        add_hash(found, level, slots, window, reply)
    return found


def named(found: Sums, level: Level, names: Mapping[str, str]) -> dict[tuple[int, str], Counts]:
    """Return the sums with the names of their routes; only hours have any."""
    if level is not Level.HOUR:
        return {(slot, ""): counts for (slot, _), counts in found.items()}
    return {(slot, route_name(str(route), names)): each for (slot, route), each in found.items()}


def route_name(number: str, names: Mapping[str, str]) -> str:
    """Return the name of a route: "" for the numbers "" and `0`, `route 7` if `names` lacks 7."""
    return "" if number in {"", "0"} else names.get(number, f"route {number}")


def packed_name(name: str, level: Level) -> str:
    """Return the name of the packed counts of a level. name: of the hash of the key."""
    return f"{name}:p{level}"


def add_open(found: Sums, level: Level, slots: range, opened: OpenUsage) -> None:
    """Add the open usage of these slots."""
    for slot, route, counts in opened.counts(level):
        if slot in slots:
            _add(found, slot, route if level is Level.HOUR else 0, counts)


def add_packed(found: Sums, level: Level, slots: range, text: str | None) -> None:
    """Add the packed counts of these slots. Raises Unreadable."""
    for slot, data in blocks(level, text):
        if slot > slots[-1] or (level is not Level.MINUTE and slot + level.window <= slots[0]):
            continue
        try:
            for each, route, counts in packed_counts.rows_of(data, slot):
                if each in slots:
                    _add(found, each, route if level is Level.HOUR else 0, counts)
        except ValueError:
            raise Unreadable(f"the packed counts {level}{slot}: not rows of counts") from None


def blocks(level: Level, text: str | None) -> Iterator[tuple[int, bytes]]:
    """Yield the slot and the rows of each block of packed counts. Raises Unreadable."""
    try:
        yield from packed_counts.blocks_of(rows.packed(text or ""))
    except ValueError:
        raise Unreadable(f"the packed counts {level}: not blocks of rows") from None


def add_hash(found: Sums, level: Level, slots: range, window: int, reply: Any) -> None:
    """Add the rows of a window, as the reply to its command has them. Raises Unreadable."""
    if level is Level.HOUR:
        first = window * level.window
        for field, text in reply.items():
            hour, route = divmod(rows.number(field, field), ROUTES)
            if first + hour in slots:
                _add(found, first + hour, route, rows.counts(field, text))
        return
    for slot, text in zip(_slots_of(level, slots, window), reply, strict=True):
        if text is not None:
            _add(found, slot, 0, rows.counts(str(slot), text))


def _add(found: Sums, slot: int, route: int, counts: Counts) -> None:
    before = found.get((slot, route))
    found[slot, route] = counts if before is None else before + counts


def _months(slots: range) -> list[str]:
    return [f"y{slot}" for slot in slots]


def _of_hashes(name: str, level: Level, slots: range) -> list[Command]:
    if level is Level.HOUR:
        return [("HGETALL", f"{name}:{level}:{each}") for each in windows_of(level, slots)]
    return [
        ("HMGET", f"{name}:{level}:{window}", *map(str, _slots_of(level, slots, window)))
        for window in windows_of(level, slots)
    ]


def _slots_of(level: Level, slots: range, window: int) -> range:
    first = window * level.window
    return range(max(slots[0], first), min(slots[-1] + 1, first + level.window))
