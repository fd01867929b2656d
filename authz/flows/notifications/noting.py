"""Noting: adds rows without a kid to the audit trail, each once, by whichever process."""

import secrets
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from authz.core.ports import Clock
from authz.core.trail.ports import TrailStore
from authz.core.trail.rows import Proof, Row, TrailKeys
from authz.flows.trail.sealing import read_all

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Known(Protocol[T_contra]):
    """The notes that the trail has."""

    def clear(self) -> None:
        """Forget all notes."""
        ...

    def remember(self, one: T_contra) -> None:
        """Remember a note."""
        ...


class Noting(Generic[T]):
    """Reads the rows of the trail that are new to it, and adds notes directly behind the last one.

    So of several processes one adds a note. note: makes the fields of a row from a value, a change
    id, the writer and the time. noted: reads the value of a row. known: gets all values.
    """

    def __init__(
        self,
        store: TrailStore,
        keys: TrailKeys,
        known: Known[T],
        *,
        note: Callable[[T, str, str, int], dict[str, str]],
        noted: Callable[[Row], T | None],
        clock: Clock,
        writer: str,
    ) -> None:
        self._store = store
        self._keys = keys
        self._known = known
        self._note = note
        self._noted = noted
        self._clock = clock
        self._writer = writer
        self._last: Row | None = None

    async def read(self) -> None:
        """Read the rows that are new. Raises Unavailable; the next call then reads all rows."""
        last, self._last = self._last, None
        if last is None:
            self._known.clear()
        end = last

        def take(row: Row) -> None:
            nonlocal end
            end = row
            found = self._noted(row)
            if found is not None and self._keys.check(row.fields) is Proof.VALID:
                self._known.remember(found)

        await read_all(self._store, take, after=last.id if last else "")
        self._last = end

    async def add(self, one: T) -> bool:
        """Add a note, and remember it. Return False if another process added a row meanwhile.

        Also False if the trail has no row yet. Call `read` before and after that. Raises
        Unavailable.
        """
        end, self._last = self._last, None
        if end is None:
            return False
        now = self._clock.wall_ms()
        fields = self._keys.marked(self._note(one, secrets.token_hex(16), self._writer, now))
        added = await self._store.add(end, fields)
        self._last = end if added is None else Row(added[0], fields)
        if added is None:
            return False
        self._known.remember(one)
        return True
