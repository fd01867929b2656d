"""SnapshotWriter: writes the snapshot at the right times. `restore` reads it at start.

The file is written every minute while there is trust, when trust is lost, and at the end. During an
outage the cache gains nothing, so the file is written only if an earlier attempt failed.
"""

import asyncio
import logging
import threading
from math import isfinite
from typing import Final, Protocol

from authz.core.events import Event
from authz.core.ports import Clock, Probe
from authz.flows.cache_contents import CacheContents
from authz.storage.snapshot import Restored, Snapshot, SnapshotRefused

log = logging.getLogger("authz.snapshot")

EVERY: Final = 60.0  # seconds
CHECK_SECONDS: Final = 0.25  # between two checks of trust


class SnapshotSource(Protocol):
    """The cache whose content is written."""

    @property
    def is_trusted(self) -> bool:
        """True if the cache's entries are current."""
        ...

    @property
    def last_trusted(self) -> float:
        """The last moment of trust (monotonic seconds), or now; minus infinity if never trusted."""
        ...

    def contents(self) -> CacheContents:
        """Return the whole content of the cache. Records stay packed."""
        ...


class SnapshotWriter:
    """Keeps the file up to date while `run` runs; `stop` writes it once more.

    instance: this sidecar, named in the file.
    """

    def __init__(
        self, snapshot: Snapshot, source: SnapshotSource, instance: str, clock: Clock, probe: Probe
    ) -> None:
        self._snapshot = snapshot
        self._probe = probe
        self._source = source
        self._instance = instance
        self._clock = clock
        self._abandon = threading.Event()
        self._writing: asyncio.Future[bool] | None = None
        self._attempted = float("-inf")  # `last_trusted` of the last attempt to write
        self._problem = ""

    async def run(self) -> None:
        """Write the file whenever it is due, until cancelled.

        A failure is logged and counted, not raised.
        """
        due = self._clock.monotonic() + EVERY
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            now, is_trusted = self._clock.monotonic(), self._source.is_trusted
            is_lost = not is_trusted and self._source.last_trusted > self._attempted
            if is_lost or (now >= due and (is_trusted or self._problem)):
                due = now + EVERY
                await self._write(self._abandon)

    async def stop(self) -> None:
        """Stop a write in progress, then write the current content.

        Call it after `run` was cancelled. Writes nothing if the cache was never trusted. A failure
        is logged and counted, not raised.
        """
        self._abandon.set()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write(None)

    async def _write(self, abandon: threading.Event | None) -> None:
        held = self._source.contents()
        self._attempted = held.last_trusted
        if not isfinite(held.last_trusted):
            return
        work = asyncio.to_thread(self._snapshot.write, held, self._instance, abandon)
        self._writing = asyncio.ensure_future(work)
        try:
            if await asyncio.shield(self._writing):
                self._probe.count(Event.SNAPSHOT_WRITTEN)
            problem = ""
        except OSError as cause:
            self._probe.count(Event.SNAPSHOT_FAILED)
            problem = f"{self._snapshot} is not written: {cause.strerror}"
        if problem and problem != self._problem:
            log.warning("cache.snapshot: %s", problem)
        self._problem = problem


def restore(snapshot: Snapshot, grace: float) -> Restored | None:
    """Return the content that may still be served. Logs the result in one line. Blocks.

    None if there is no file, or if it is refused, which is logged as a warning. grace: seconds.
    """
    try:
        restored = snapshot.read(grace)
    except SnapshotRefused as cause:
        log.warning("cache.snapshot: %s is not used: %s", snapshot, cause)
        return None
    if restored is None:
        log.info("cache.snapshot: there is no %s yet", snapshot)
        return None
    records, revoked = len(restored.contents.packed), len(restored.contents.revoked)
    if restored.trouble:
        log.warning(
            "cache.snapshot: of %s only %d revoked kids are used: %s",
            snapshot,
            revoked,
            restored.trouble,
        )
    else:
        log.info("cache.snapshot: restored %d records and %d revoked kids", records, revoked)
    return restored
