"""Sighting watch: moves sightings of sidecars into the audit trail, so that events follow."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from authz.core.bounded import BoundedDict
from authz.core.errors import Unavailable
from authz.core.notifications.ports import SightingStore
from authz.core.ports import Clock
from authz.core.sightings import Sighting, Sightings

PAGE: Final = 100
PAUSE: Final = 1.0  # seconds between two looks
MAX_TOLD: Final = 20_000  # marks of budgets
MINUTE_MS: Final = 60_000
ROWS_OF_KEY: Final = 10  # of one canary key, in a minute
ROWS: Final = 600  # of all, in a minute
MAX_FOLDED: Final = 500  # canary keys

log = logging.getLogger("authz.events")


class SightingWatch:
    """Moves sightings. Several processes may do so: each sighting makes one row.

    Nobody can fill the trail: a canary key gets at most ROWS_OF_KEY (10) rows a minute, and all
    sightings together ROWS (600). Further uses of a canary key are one row of the next minute,
    without a network; if the process ends before, they are not counted. The others wait in the
    stream, which is bounded.

    own: the sightings of this process itself, which go the same way. If several sidecars report
    the same mark of a budget, this process makes one row.
    """

    def __init__(
        self, store: SightingStore, clock: Clock, writer: str, own: Sightings | None = None
    ) -> None:
        self._store = store
        self._own = own or Sightings()
        self._clock = clock
        self._writer = writer
        self._told: BoundedDict[tuple[str, str], bool] = BoundedDict(MAX_TOLD)
        self._minute = 0
        self._rows: Counter[str] = Counter()  # of this minute, by kid
        self._folded: BoundedDict[str, Sighting] = BoundedDict(MAX_FOLDED)

    async def look(self) -> int:
        """Move the sightings that wait, and return how many. Raises Unavailable.

        An entry that cannot be read is removed, and logged.
        """
        moved = 0
        await self._hand_in()
        await self._turn()
        while (room := ROWS - self._rows.total()) > 0:
            found = await self._store.waiting(min(PAGE, room))
            if not found:
                break
            for entry_id, one in found:
                if one is not None and self._folds(one):
                    await self._store.settle(entry_id, None)
                    continue
                is_told = one is not None and self._is_told(one)
                event = one.event(self._writer, self._clock.wall_ms()) if one else None
                await self._store.settle(entry_id, None if is_told else event)
                if one is None:
                    log.warning("a sighting of a sidecar cannot be read: %s", entry_id)
                elif not is_told:
                    self._rows[one.kid] += 1
                    if one.about:
                        self._told.put((one.kid, one.about), True)
                    log.warning(
                        "key %s: %s, %d times",
                        one.kid,
                        f"{one.action.value} {one.about}".rstrip(),
                        one.uses,
                    )
            moved += len(found)
        return moved

    def _is_told(self, one: Sighting) -> bool:
        """Return whether the trail has this mark of a budget from another sidecar."""
        return bool(one.about) and self._told.get((one.kid, one.about)) is not None

    async def _turn(self) -> None:
        """Begin a minute, with the folded uses of the last one."""
        minute = self._clock.wall_ms() // MINUTE_MS
        if minute == self._minute:
            return
        self._minute = minute
        self._rows.clear()
        while self._folded:
            kid = next(iter(self._folded))
            await self._store.add(self._folded[kid])
            del self._folded[kid]

    def _folds(self, one: Sighting) -> bool:
        """Return whether a use of a canary key has no row of its own, and remember it."""
        if one.about or self._rows[one.kid] < ROWS_OF_KEY:
            return False
        known = self._folded.get(one.kid)
        uses = one.uses + (known.uses if known else 0)
        self._folded.put(one.kid, replace(one, network="", uses=uses))
        return True

    async def _hand_in(self) -> None:
        found = self._own.take(self._clock.wall_ms())
        for at, one in enumerate(found):
            try:
                await self._store.add(one)
            except Unavailable:
                for left in found[at:]:
                    self._own.put_back(left)
                raise


async def watch_sightings(
    watch: SightingWatch,
    is_ours: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Look now and after each pause of PAUSE (1 s), until cancelled.

    is_ours: whether the store is reachable and ours; else a round is left out. Unavailable is
    logged when it changes, not raised.
    """
    problem = ""
    while True:
        if is_ours():
            before, problem = problem, ""
            try:
                await watch.look()
            except Unavailable as cause:
                problem = str(cause)
            if problem and problem != before:
                log.warning("sightings of sidecars come later: %s", problem)
        await sleep(PAUSE)
