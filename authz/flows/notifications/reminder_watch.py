"""ReminderWatch: notes in the audit trail which keys need a new secret, so that events follow."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from authz.core.errors import Unavailable
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.rotation import Reminder, RotationPolicies, reminder
from authz.core.trail.ports import TrailStore
from authz.core.trail.reminders import note, noted
from authz.core.trail.rows import TrailKeys
from authz.flows.notifications.noting import Noting

PAUSE: Final = 3600.0  # seconds between two rounds
SOON: Final = 60.0  # seconds, after a round that found the store in use by another process

log = logging.getLogger("authz.events")

Records = Callable[[], AsyncIterator[KeyRecord]]


class _Known:
    """The latest reminder of each key: the secret, and the time before the due time."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[str, int]] = {}

    def clear(self) -> None:
        self._latest = {}

    def has(self, one: Reminder) -> bool:
        secret, before = self._latest.get(one.kid, ("", 0))
        return secret == one.secret and before <= one.before_ms

    def remember(self, one: Reminder) -> None:
        if not self.has(one):
            self._latest[one.kid] = (one.secret, one.before_ms)


class ReminderWatch:
    """Reads all keys in each round, and the rows of the trail that are new to it.

    records: begins a read of all keys.
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
        self._records = records
        self._policies = policies
        self._clock = clock
        self._known = _Known()
        self._noting = Noting[Reminder](
            store, keys, self._known, note=note, noted=noted, clock=clock, writer=writer
        )

    async def look(self) -> bool:
        """Note the reminders that have come. Return False if another process added a row meanwhile.

        Then the rest is left to the next call. Raises Unavailable if the store fails; the next call
        then reads the whole trail again.
        """
        wanted = [one async for one in self._wanted()]
        await self._noting.read()
        for one in wanted:
            if not self._known.has(one) and not await self._noting.add(one):
                return False
        return True

    async def _wanted(self) -> AsyncIterator[Reminder]:
        now = self._clock.wall_ms()
        async for record in self._records():
            found = reminder(record, self._policies, now)
            if found is not None and not self._known.has(found):
                yield found


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
