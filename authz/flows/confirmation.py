"""Wait until every sidecar has applied a change, or can no longer act on what was before it."""

import asyncio
from typing import Any, Final, cast

from authz.core.errors import Unreadable
from authz.core.fields import MAX_OUTAGE_GRACE_MS
from authz.core.ports import AuditTrail, Clock, SidecarRegistry
from authz.core.records import KeyRecord
from authz.core.sidecars import Confirmation, FormerGrace, Heard, confirmation

PAUSE_MIN: Final = 0.001  # seconds between two looks
PAUSE_MAX: Final = 0.050
MAX_LOOK_BACK: Final = 100  # changes of the key


async def acknowledged(
    directory: SidecarRegistry,
    trail: AuditTrail,
    record: KeyRecord,
    patience: float,
    clock: Clock,
) -> Confirmation:
    """Where the change that made `record` stands, once it is complete or after `patience` seconds.

    Call it when the store has confirmed the change: the time of that is taken here. Raises
    Unavailable.
    """
    began, pause, past = clock.monotonic(), PAUSE_MIN, _Past(trail, record)
    while True:
        _, heard = await directory.find()
        elapsed = clock.monotonic() - began
        elapsed_ms = int(elapsed * 1000)
        await past.look_back(_oldest(heard, record.version, elapsed_ms))
        found = confirmation(
            heard,
            record.version,
            record.outage_grace,
            elapsed_ms,
            clock.wall_ms(),
            former=past.graces(),
        )
        if found.is_complete or elapsed >= patience:
            return found
        await asyncio.sleep(min(pause, patience - elapsed))
        pause = min(pause * 2, PAUSE_MAX)


def _oldest(heard: list[Heard], seq: int, elapsed_ms: int) -> int:
    """The change that every sidecar has applied; none that has applied `seq` is asked for more."""
    late = [each.sidecar.applied or 0 for each in heard if not each.has_applied(seq, elapsed_ms)]
    return min(late, default=seq)


class _Past:
    """The graces that a key had, as its history tells. What that does not tell: the longest."""

    def __init__(self, trail: AuditTrail, record: KeyRecord) -> None:
        self._trail = trail
        self._kid = record.kid
        self._version = record.version  # what made this one has not been looked at
        self._steps = MAX_LOOK_BACK
        self._found: list[FormerGrace] = []

    async def look_back(self, version: int) -> None:
        """Look at every change behind `version`. Raises Unavailable."""
        while self._version > version and self._steps:
            self._steps -= 1
            try:
                entry = await self._trail.entry(self._kid, self._version)
            except Unreadable:
                entry = None
            if entry is None:
                self._steps = 0
                return
            altered = cast("dict[str, Any] | None", entry.event.detail.get("outage_grace"))
            if altered is not None:
                self._found.append(FormerGrace(self._version, altered["old"]))
            self._version = entry.base_version

    def graces(self) -> list[FormerGrace]:
        """What was found."""
        if not self._version:
            return self._found
        return [*self._found, FormerGrace(self._version, MAX_OUTAGE_GRACE_MS)]
