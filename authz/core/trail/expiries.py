"""Expiries of keys, from the entries of the trail.

A key expires without anybody's action, so no entry says it. It follows from the entries: the last
issue, import, update or rotation before that time set it, and no revocation came first.
"""

import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from authz.core.audit import Action
from authz.core.trail.rows import Row

_ENDS = frozenset({Action.REVOKE.value, Action.DELETE.value})
_FIELD = '"expires_at"'


@dataclass(frozen=True, slots=True)
class Expiry:
    """A key expired. at: its expiry, in ms since the epoch."""

    kid: str
    at: int


class Expiries:
    """Finds expiries of keys in the rows of a trail. It needs all rows, in their order.

    Both methods are generators: they do their work as the result is read, to its end.
    """

    def __init__(self) -> None:
        self._set: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []

    def feed(self, row: Row) -> Iterator[Expiry]:
        """Take the next row. First yield the keys that expired up to the time of this row.

        A row that neither sets an expiry nor ends a key yields none. A later call yields them.
        """
        action, detail = row.fields.get("action", ""), row.fields.get("detail", "")
        if not row.kid or (action not in _ENDS and _FIELD not in detail):
            return
        yield from self.until(_number(row.fields.get("at", "")))
        if action in _ENDS:
            self._set.pop(row.kid, None)
        elif (found := _expires_at(detail)) is not None:
            (ends,) = found
            self._set.pop(row.kid, None)
            if ends is not None:
                self._set[row.kid] = ends
                heapq.heappush(self._order, (ends, row.kid))

    def until(self, now: int) -> Iterator[Expiry]:
        """Yield the keys that expired up to `now`, in ms since the epoch, each once."""
        while self._order and self._order[0][0] <= now:
            ends, kid = heapq.heappop(self._order)
            if self._set.get(kid) == ends:
                del self._set[kid]
                yield Expiry(kid, ends)


def _expires_at(detail: str) -> tuple[int | None] | None:
    """Return the expiry that an entry sets, in ms or None for never, as a tuple of one.

    Return None if the entry sets no expiry.
    """
    try:
        found: Any = json.loads(detail)["expires_at"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if isinstance(found, Mapping):  # an update has the old and the new value
        found = found.get("new")
    return (found if isinstance(found, int) and not isinstance(found, bool) else None,)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0  # noqa: PLR2004
