"""ReminderWatch: notes in the audit trail which keys need a new secret, so that events follow."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from authz.core.errors import Unavailable
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.rotation import Reminder, RotationPolicies, reminder
from authz.core.trail.ports import TrailStore
from authz.core.trail.reminders import note, noted
from authz.core.trail.rows import Proof, Row, TrailKeys
from authz.flows.trail.sealing import read_all

PAUSE: Final = 3600.0  # seconds between two rounds
SOON: Final = 60.0  # seconds, after a round that found the store in use by another process

log = logging.getLogger("authz.events")

Records = Callable[[], AsyncIterator[KeyRecord]]


class ReminderWatch:
    """Reads all keys in each round, and the rows of the trail that are new to it.

    A row is added directly behind the last row that was read, so of several processes one notes a
    reminder. records: begins a read of all keys.
    """

    def __init__(
        self,
        store: TrailStore,
        keys: TrailKeys,
        records: Records,
        policies: RotationPolicies,
        *,
        clock: Clock,
        writer: str,
    ) -> None:
        self._store = store
        self._keys = keys
        self._records = records
        self._policies = policies
        self._clock = clock
        self._writer = writer
        self._known: dict[str, tuple[str, int]] = {}  # kid -> secret, and its latest reminder
        self._last: Row | None = None

    async def look(self) -> bool:
        """Note the reminders that have come. Return False if another process added a row meanwhile.

        Then the rest is left to the next call. Raises Unavailable if the store fails; the next call
        then reads the whole trail again.
        """
        wanted = [one async for one in self._wanted()]
        last, self._last = self._last, None
        if last is None:
            self._known = {}
        end = last

        def take(row: Row) -> None:
            nonlocal end
            end = row
            found = noted(row)
            if found is not None and self._keys.check(row.fields) is Proof.VALID:
                self._remember(found)

        await read_all(self._store, take, after=last.id if last else "")
        for one in wanted:
            if self._is_known(one) or end is None:
                continue
            now = self._clock.wall_ms()
            fields = self._keys.marked(note(one, secrets.token_hex(16), self._writer, now))
            added = await self._store.add(end, fields)
            if added is None:
                self._last = end
                return False
            end = Row(added[0], fields)
            self._remember(one)
        self._last = end
        return True

    async def _wanted(self) -> AsyncIterator[Reminder]:
        now = self._clock.wall_ms()
        async for record in self._records():
            found = reminder(record, self._policies, now)
            if found is not None and not self._is_known(found):
                yield found

    def _is_known(self, one: Reminder) -> bool:
        secret, before = self._known.get(one.kid, ("", 0))
        return secret == one.secret and before <= one.before_ms

    def _remember(self, one: Reminder) -> None:
        if not self._is_known(one):
            self._known[one.kid] = (one.secret, one.before_ms)


async def watch_rotations(
    watch: ReminderWatch,
    is_ours: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Look now and after each pause of PAUSE (an hour), until cancelled.

    is_ours: whether the store is reachable and ours; else a round is left out. Unavailable is
    logged, not raised.
    """
    while True:
        pause = SOON
        if is_ours():
            try:
                pause = PAUSE if await watch.look() else SOON
            except Unavailable as cause:
                log.warning("reminders of rotations come later: %s", cause)
        await sleep(pause)
