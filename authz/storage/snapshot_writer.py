"""When the snapshot is written, and what came of it at a start.

Every minute while there is trust, when trust is lost, and at the end. In between an outage changes
nothing that is worth keeping; but what could not be written is tried again.
"""

import asyncio
import logging
import threading
from math import isfinite
from typing import Final, Protocol

from authz.core.events import Event
from authz.core.ports import Clock, Probe
from authz.flows.keycache import CacheContents
from authz.storage.snapshot import Restored, Snapshot, SnapshotRefused

log = logging.getLogger("authz.snapshot")

EVERY: Final = 60.0  # seconds
LOOK: Final = 0.25  # seconds between two looks at trust


class SnapshotSource(Protocol):
    """The cache."""

    @property
    def is_trusted(self) -> bool:
        """Is what it holds current?"""
        ...

    @property
    def last_trusted(self) -> float:
        """Until when it was, or now; minus infinity if it never was."""
        ...

    def contents(self) -> CacheContents:
        """All that it holds."""
        ...


class SnapshotWriter:
    """Keeps the file up to date while it runs, and once more at the end."""

    def __init__(
        self, snapshot: Snapshot, holder: SnapshotSource, instance: str, clock: Clock, probe: Probe
    ) -> None:
        self._snapshot = snapshot
        self._count = probe.count
        self._holder = holder
        self._instance = instance
        self._monotonic = clock.monotonic
        self._abandon = threading.Event()
        self._writing: asyncio.Future[bool] | None = None
        self._kept = float("-inf")  # the moment up to which what was last written or tried holds
        self._trouble = ""

    async def run(self) -> None:
        """Write when it is time to, until cancelled."""
        due = self._monotonic() + EVERY
        while True:
            await asyncio.sleep(LOOK)
            now, is_trusted = self._monotonic(), self._holder.is_trusted
            is_lost = not is_trusted and self._holder.last_trusted > self._kept
            if is_lost or (now >= due and (is_trusted or self._trouble)):
                due = now + EVERY
                await self._write(self._abandon)

    async def stop(self) -> None:
        """Write what is held now. After `run` was cancelled."""
        self._abandon.set()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write(None)

    async def _write(self, abandon: threading.Event | None) -> None:
        held = self._holder.contents()
        self._kept = held.last_trusted
        if not isfinite(held.last_trusted):
            return
        work = asyncio.to_thread(self._snapshot.write, held, self._instance, abandon)
        self._writing = asyncio.ensure_future(work)
        try:
            if await asyncio.shield(self._writing):
                self._count(Event.SNAPSHOT_WRITTEN)
            trouble = ""
        except OSError as cause:
            self._count(Event.SNAPSHOT_FAILED)
            trouble = f"{self._snapshot} is not written: {cause.strerror}"
        if trouble and trouble != self._trouble:
            log.warning("cache.snapshot: %s", trouble)
        self._trouble = trouble


def restore(snapshot: Snapshot, grace: float) -> Restored | None:
    """What may be gone on with, if anything; says in one line what came of it. Blocks."""
    try:
        kept = snapshot.read(grace)
    except SnapshotRefused as cause:
        log.warning("cache.snapshot: %s is not used: %s", snapshot, cause)
        return None
    if kept is None:
        log.info("cache.snapshot: there is no %s yet", snapshot)
        return None
    records, revoked = len(kept.holdings.packed), len(kept.holdings.revoked)
    if kept.trouble:
        log.warning(
            "cache.snapshot: of %s only %d revoked kids are used: %s",
            snapshot,
            revoked,
            kept.trouble,
        )
    else:
        log.info("cache.snapshot: %d records and %d revoked kids held", records, revoked)
    return kept
