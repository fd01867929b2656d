"""Wait until every sidecar has applied a change or can no longer serve the old record."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

from authz.core.admin_ports import SidecarRegistry
from authz.core.errors import Unreadable
from authz.core.fields import MAX_OUTAGE_GRACE_MS
from authz.core.partitions import COUNTS, Partitions
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.sidecars import Confirmation, FormerGrace, Heard, confirmation
from authz.core.trail.ports import AuditTrail

PAUSE_MIN: Final = 0.001  # seconds between two looks
PAUSE_MAX: Final = 0.050
MAX_LOOK_BACK: Final = 100  # changes of the key
_FINEST: Final = Partitions(max(COUNTS))  # a multiple of each other number of partitions


@dataclass(slots=True)
class Extent:
    """The extent of the changes that were made, to wait for the sidecars.

    version: the highest version that was made, 0 for none. base: the highest version that was
    changed. graces: all outage graces of the keys, before and after, in ms; None for the setting of
    the sidecars. replicas: the fewest replicas that have a batch; None without replicas or changes.
    """

    version: int = 0
    base: int = 0
    graces: set[int | None] = field(default_factory=set)
    replicas: int | None = None
    _shares: "dict[int, Extent]" = field(default_factory=dict, repr=False, compare=False)

    def add(self, before: KeyRecord, after: KeyRecord) -> None:
        """Add a change that was made, from record `before` to record `after`, with its version."""
        graces = {before.outage_grace, after.outage_grace}
        share = self._shares.setdefault(_FINEST.home_of(before), Extent())
        for each in (self, share):
            each.extend(after.version, before.version, graces)

    def of_partitions(self, partitions: Partitions) -> "dict[int, Extent]":
        """Return the extent in each partition that has one of the keys."""
        found: dict[int, Extent] = {}
        for at, share in self._shares.items():
            whole = found.setdefault(at % partitions.count, Extent())
            whole.extend(share.version, share.base, share.graces)
        return found

    def extend(self, version: int, base: int, graces: set[int | None]) -> None:
        """Add changes. version, base: the highest ones. graces: all of them."""
        self.version = max(self.version, version)
        self.base = max(self.base, base)
        self.graces |= graces

    def add_replicas(self, count: int | None) -> None:
        """Add the number of replicas that have a batch. None, for a store without them, is ignored.

        `replicas` becomes the smallest of these numbers.
        """
        if count is not None:
            self.replicas = count if self.replicas is None else min(self.replicas, count)


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
    registry: SidecarRegistry, extent: Extent, seconds: float, clock: Clock
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


class FleetWait(Protocol):
    """Waits for the sidecars after a change. Methods raise Unavailable."""

    async def connect(self, kid: str) -> None:
        """Read the registry before a change: the time of a wait counts from the change."""
        ...

    async def for_key(self, record: KeyRecord, seconds: float) -> Confirmation:
        """Return what `acknowledged` does, for the change that made `record`."""
        ...

    async def for_all(self, extent: Extent, seconds: float) -> Confirmation:
        """Return what `all_acknowledged` does.

        So a deletion is waited for, too: the entries of the key's former graces are gone.
        """
        ...


class SidecarWait:
    """A FleetWait for a store with one partition."""

    def __init__(self, registry: SidecarRegistry, trail: AuditTrail, clock: Clock) -> None:
        self._registry = registry
        self._trail = trail
        self._clock = clock

    async def connect(self, kid: str) -> None:
        """Implement FleetWait.connect."""
        del kid
        await self._registry.find()

    async def for_key(self, record: KeyRecord, seconds: float) -> Confirmation:
        """Implement FleetWait.for_key."""
        return await acknowledged(self._registry, self._trail, record, seconds, self._clock)

    async def for_all(self, extent: Extent, seconds: float) -> Confirmation:
        """Implement FleetWait.for_all."""
        return await all_acknowledged(self._registry, extent, seconds, self._clock)


def extent_of(record: KeyRecord) -> Extent:
    """Return the extent of the deletion of one key. record: with the version of the deletion."""
    extent = Extent()
    extent.add(record, record)
    return extent


def _oldest(heard: list[Heard], seq: int, elapsed_ms: int) -> int:
    """Return the last change that all sidecars without change `seq` have applied.

    0 if one of them does not know what it has applied; `seq` if no sidecar lacks `seq`. Entries
    that prove nothing count with the longest grace, so they are left out.
    """
    known = [each for each in heard if not each.doubt]
    late = [each.sidecar.applied or 0 for each in known if not each.has_applied(seq, elapsed_ms)]
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
