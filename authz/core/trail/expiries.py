"""Expiries of keys, from the entries of the trail.

A key expires without anybody's action, so no entry says it. It follows from the entries: the last
issue, import, update or rotation before that time set it, and no revocation came first. For events
a process adds a row that notes it, some time later.
"""

import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from authz.core.audit import Action
from authz.core.keys.text import KID_PATTERN
from authz.core.trail.rows import Row

_ENDS = frozenset({Action.REVOKE.value, Action.DELETE.value})
NOTED: Final = "expired"  # the action of a row that notes an expiry
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


def noted(row: Row) -> Expiry | None:
    """Return the expiry that a row notes, or None if it is another row. The mark is not checked."""
    if row.kid or row.fields.get("action") != NOTED:
        return None
    try:
        found: Any = json.loads(row.fields.get("detail", ""))
        kid, ends = found["key"], found["expires_at"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(kid, str) or not KID_PATTERN.fullmatch(kid) or not isinstance(ends, int):
        return None
    return Expiry(kid, ends)


def note(expiry: Expiry, change_id: str, writer: str, now: int) -> dict[str, str]:
    """Return the fields of a row that notes an expiry, without a mark. now: ms since the epoch.

    The row is about the trail, so an older version skips it, and lists show the expiry itself.
    """
    return {
        "kid": "",
        "change_id": change_id,
        "action": NOTED,
        "actor": writer,
        "at": str(now),
        "detail": json.dumps({"key": expiry.kid, "expires_at": expiry.at}),
    }
