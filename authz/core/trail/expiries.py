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
    """A key expired. at: ms since the epoch."""

    kid: str
    at: int


class Expiries:
    """Follows the trail. Rows come in its order, all of them."""

    def __init__(self) -> None:
        self._set: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []

    def feed(self, row: Row) -> Iterator[Expiry]:
        """Take the next row; yield the keys that expired before it, by the times of the rows."""
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
    """Return the expiry that an entry sets, or None if it sets none."""
    try:
        found: Any = json.loads(detail)["expires_at"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if isinstance(found, Mapping):  # an update has the old and the new value
        found = found.get("new")
    return (found if isinstance(found, int) and not isinstance(found, bool) else None,)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0  # noqa: PLR2004
