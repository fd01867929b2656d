"""Sighting watch: moves sightings of sidecars into the audit trail, so that events follow."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from authz.core.bounded import BoundedDict
from authz.core.errors import Unavailable
from authz.core.notifications.ports import SightingStore
from authz.core.ports import Clock
from authz.core.sightings import Sighting, Sightings

PAGE: Final = 100
PAUSE: Final = 1.0  # seconds between two looks
MAX_TOLD: Final = 20_000  # marks of budgets

log = logging.getLogger("authz.events")


class SightingWatch:
    """Moves sightings. Several processes may do so: each sighting makes one row.

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

    async def look(self) -> int:
        """Move the sightings that wait, and return how many. Raises Unavailable.

        An entry that cannot be read is removed, and logged.
        """
        moved = 0
        await self._hand_in()
        while found := await self._store.waiting(PAGE):
            for entry_id, one in found:
                is_told = one is not None and self._is_told(one)
                event = one.event(self._writer, self._clock.wall_ms()) if one else None
                await self._store.settle(entry_id, None if is_told else event)
                if one is None:
                    log.warning("a sighting of a sidecar cannot be read: %s", entry_id)
                elif not is_told:
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
