"""LastUse: finds the keys that were not used since a time, if usage can tell."""

from collections.abc import Sequence
from typing import Final

from authz.core.errors import BadInput
from authz.core.ports import Clock
from authz.core.selector import Position
from authz.core.usage.counts import MINUTE_MS, Level
from authz.core.usage.ports import UsageIndex, UsageReader
from authz.core.usage.question import DAY_MS

FIELD: Final = "unused-for"  # of commands
LOOK_BACK: Final = 128  # days before the time in question that show that usage was counted
MONTHS: Final = 24


class LastUse:
    """Finds unused keys. A key that was never used counts as used when it was created.

    field: the name of the condition in the errors. All methods raise Unavailable.
    """

    def __init__(
        self, index: UsageIndex, reader: UsageReader, clock: Clock, field: str = FIELD
    ) -> None:
        self._index = index
        self._reader = reader
        self._clock = clock
        self._field = field
        self._last_check = (0, 0)

    async def unused(self, places: Sequence[Position], since: int) -> set[str]:
        """Return the kids that were neither used nor created at or after `since`.

        since: ms since the epoch. Raises BadInput if no request was counted before `since`, or none
        yesterday and today: then a key in use would look unused.
        """
        # Not for every page of a list, but every minute: the meter may stop while a server runs.
        check = (since, self._clock.wall_ms() // MINUTE_MS)
        if check != self._last_check:
            await self._refuse_unless_counted(since)
            self._last_check = check
        latest = await self._index.latest([place.kid for place in places])
        return {
            place.kid
            for place, at in zip(places, latest, strict=True)
            if place.created_at < since and (at is None or _end_of_minute(at) <= since)
        }

    async def _refuse_unless_counted(self, since: int) -> None:
        today, day = self._clock.wall_ms() // DAY_MS, since // DAY_MS
        if not await self._reader.totals(Level.DAY, range(today - 1, today + 1)):
            problem = "no request was counted today or yesterday; is `authz meter` running?"
            raise BadInput(self._field, problem)
        month = Level.MONTH.slot(since // MINUTE_MS)
        if await self._reader.totals(Level.DAY, range(day - LOOK_BACK, day)):
            return
        if not await self._reader.totals(Level.MONTH, range(month - MONTHS, month)):
            problem = "usage was not yet counted at that time, so used keys may look unused"
            raise BadInput(self._field, f"{problem}; conditions on creation and expiry work")


def _end_of_minute(at: int) -> int:
    """Return the end, in ms, of the minute of epoch seconds. The latest use is in that minute."""
    return (at * 1000 // MINUTE_MS + 1) * MINUTE_MS
