"""OpenUsage: what the latest commits of a key added, as lua/key_usage.lua keeps it in <kid>:o."""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct, error
from typing import Final

from authz.core.errors import Unreadable
from authz.core.usage.commit import Sight
from authz.core.usage.counts import FIELDS, LARGEST, Counts, Level, month_of
from authz.storage.usage import packed_counts, rows

FORMAT: Final = 1
TEXTS: Final = 4  # owners, secret, network, user agent; each ends with a NUL
# The numbers of a state, as STATE of lua/key_usage.lua has them: format; month, requests, denied,
# units, gone; then those of _NUMBERS. Their lengths are in bytes.
_START: Final = Struct("B3s7s7s7sB")
_NUMBERS: Final = Struct("5s7s3s5s5s2sB")  # used, number, folded, base, minute, route, count


@dataclass(frozen=True, slots=True)
class OpenUsage:
    """Usage that is not folded yet.

    minutes: minute, number of the route, and counts; a minute and route can come several times.
    secret: of `latest`, "" if it is unknown. requests: of that secret, not folded. folded: the
    latest window of hours that was folded, 0 if none was.
    """

    minutes: tuple[tuple[int, int, Counts], ...] = ()
    secret: str = ""
    latest: Sight | None = None
    requests: int = 0
    folded: int = 0

    def counts(self, level: Level) -> Iterator[tuple[int, int, Counts]]:
        """Yield slot, number of the route, and counts; a slot and route can come several times."""
        for minute, route, counts in self.minutes:
            yield level.slot(minute), route, counts


def open_usage(text: str | None) -> OpenUsage:
    """Return what a string has; nothing for None. Raises Unreadable."""
    if text is None:
        return OpenUsage()
    try:
        return _parsed(rows.packed(text))
    except (ValueError, IndexError, OverflowError, error):
        raise Unreadable("the open usage: not the usage of a key") from None


def _parsed(data: bytes) -> OpenUsage:
    if data[0] != FORMAT:
        raise ValueError("another format")
    *numbers, count = _NUMBERS.unpack_from(data, _START.size)
    used, requests, folded, base, minute, route = (int.from_bytes(each, "big") for each in numbers)
    texts, rest = _texts(data[_START.size + _NUMBERS.size :])
    _, secret, network, agent = texts
    counted = Struct(f">{count}q")
    found = list(packed_counts.rows_of(rest[counted.size :], base))
    row = counted.unpack_from(rest)
    if count > FIELDS or any(abs(each) > LARGEST for each in (*row, requests)):
        raise ValueError("not a row")
    if minute:
        found.append((minute, route, Counts((*row, *[0] * (FIELDS - count)))))
    for each, _, _ in found:
        month_of(each)  # a minute that has none could not be shown
    latest = Sight(used, network, agent) if used else None
    return OpenUsage(tuple(found), secret, latest, requests, folded)


def _texts(data: bytes) -> tuple[list[str], bytes]:
    """Return the texts at the start, and the bytes after them. Raises ValueError."""
    *texts, rest = data.split(b"\0", TEXTS)
    if len(texts) != TEXTS:
        raise ValueError("a text has no end")
    return [each.decode("ascii") for each in texts], rest
