"""Wait until every sidecar has applied a change or can no longer serve the old record."""

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from authz.core.admin_ports import SidecarRegistry
from authz.core.errors import Unreadable
from authz.core.fields import MAX_OUTAGE_GRACE_MS
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.sidecars import Confirmation, FormerGrace, Heard, confirmation
from authz.core.trail.ports import AuditTrail

if TYPE_CHECKING:
    from authz.flows.bulk_change import Extent

PAUSE_MIN: Final = 0.001  # seconds between two looks
PAUSE_MAX: Final = 0.050
MAX_LOOK_BACK: Final = 100  # changes of the key


async def acknowledged(
    registry: SidecarRegistry,
    trail: AuditTrail,
    record: KeyRecord,
    seconds: float,
    clock: Clock,
) -> Confirmation:
    """Return the confirmation of the change that made `record`.

    Returns when the confirmation is complete, or after `seconds` with one that is not. Call it
    right after the store has confirmed the change: the elapsed time is measured from the call.
    Raises Unavailable if the registry or the audit trail cannot be read.
    """
    began, pause, past = clock.monotonic(), PAUSE_MIN, _Past(trail, record)
    while True:
        _, heard = await registry.find()
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
        if found.is_complete or elapsed >= seconds:
            return found
        await asyncio.sleep(min(pause, seconds - elapsed))
        pause = min(pause * 2, PAUSE_MAX)


async def all_acknowledged(
    registry: SidecarRegistry, extent: "Extent", seconds: float, clock: Clock
) -> Confirmation:
    """Return the confirmation of many changes, as `acknowledged` does for one.

    A sidecar that has not applied the state before the changes counts with the longest grace (1 d).
    Raises Unavailable if the registry cannot be read.
    """
    began, pause = clock.monotonic(), PAUSE_MIN
    graces = extent.graces or {None}
    former = [FormerGrace(extent.version + 1, grace) for grace in graces]
    former.append(FormerGrace(extent.base, MAX_OUTAGE_GRACE_MS))
    while True:
        _, heard = await registry.find()
        elapsed = clock.monotonic() - began
        found = confirmation(
            heard, extent.version, 0, int(elapsed * 1000), clock.wall_ms(), former=former
        )
        if found.is_complete or elapsed >= seconds:
            return found
        await asyncio.sleep(min(pause, seconds - elapsed))
        pause = min(pause * 2, PAUSE_MAX)


def _oldest(heard: list[Heard], seq: int, elapsed_ms: int) -> int:
    """Return the last change that all sidecars without change `seq` have applied.

    0 if one of them does not know what it has applied; `seq` if no sidecar lacks `seq`.
    """
    late = [each.sidecar.applied or 0 for each in heard if not each.has_applied(seq, elapsed_ms)]
    return min(late, default=seq)


class _Past:
    """The graces that a key had, from its history. Before the part that was read: the longest."""

    def __init__(self, trail: AuditTrail, record: KeyRecord) -> None:
        self._trail = trail
        self._kid = record.kid
        self._version = record.version  # the entry of this version has not been read yet
        self._steps = MAX_LOOK_BACK
        self._found: list[FormerGrace] = []

    async def look_back(self, version: int) -> None:
        """Read the changes after `version` that no earlier call has read, newest first.

        All calls together read at most MAX_LOOK_BACK (100). Stops for good at an entry that is
        missing or unreadable. Raises Unavailable if the store fails.
        """
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
        """Return the graces found, and the longest (1 d) for the versions that were not read."""
        if not self._version:
            return self._found
        return [*self._found, FormerGrace(self._version, MAX_OUTAGE_GRACE_MS)]
