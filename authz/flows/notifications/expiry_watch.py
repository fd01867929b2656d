"""ExpiryWatch: notes expiries of keys in the audit trail, each once, so that they make events."""

import logging
import secrets
from typing import Final

from authz.core.ports import Clock
from authz.core.trail.expiries import Expiries, Expiry, note, noted
from authz.core.trail.ports import TrailStore
from authz.core.trail.rows import Proof, Row, TrailKeys
from authz.flows.repeated_looks import RepeatedLooks
from authz.flows.trail.sealing import read_all

MAX_AGE_MS: Final = 7 * 86_400_000  # older expiries are not noted any more

log = logging.getLogger("authz.events")
EXPIRIES: Final = RepeatedLooks(20.0, "expiries of keys are noted later", log)


class ExpiryWatch:
    """Follows the trail. It reads all of it in its first round, later the new rows.

    A row is added directly behind the last row that was read. So of several processes one notes an
    expiry, and the others read that.
    """

    def __init__(self, store: TrailStore, keys: TrailKeys, clock: Clock, writer: str) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._writer = writer
        self._expiries = Expiries()
        self._due: dict[Expiry, None] = {}
        self._last: Row | None = None

    async def look(self) -> int:
        """Note the expiries up to now. Return how many.

        If another process adds a row meanwhile, the rest is left to the next call. Raises
        Unavailable if the store fails; the next call then reads the whole trail again.
        """
        last, self._last = self._last, None
        if last is None:
            self._expiries, self._due = Expiries(), {}
        end = last

        def take(row: Row) -> None:
            nonlocal end
            end = row
            self._take(row)

        await read_all(self._store, take, after=last.id if last else "")
        now = self._clock.wall_ms()
        self._due |= dict.fromkeys(self._expiries.until(now))
        count = 0
        while end is not None and (wanted := self._next(now)) is not None:
            fields = self._keys.marked(note(wanted, secrets.token_hex(16), self._writer, now))
            added = await self._store.add(end, fields)
            if added is None:
                break
            end = Row(added[0], fields)
            del self._due[wanted]
            count += 1
        self._last = end
        return count

    def _take(self, row: Row) -> None:
        self._due |= dict.fromkeys(self._expiries.feed(row))
        known = noted(row)
        if known is not None and self._keys.check(row.fields) is Proof.VALID:
            self._due |= dict.fromkeys(self._expiries.until(known.at))
            self._due.pop(known, None)

    def _next(self, now: int) -> Expiry | None:
        for old in [one for one in self._due if one.at < now - MAX_AGE_MS]:
            del self._due[old]
        return next(iter(self._due), None)
