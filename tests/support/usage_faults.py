"""Stores of usage that fail, and stores and a meter that count wrongly, for tests of meters."""

from collections import Counter

from authz.core.errors import Unavailable
from authz.core.usage.ports import Counted
from authz.flows.usage.partitioned_meter import PartitionedMeter


class RecordingMeterProbe:
    """A MeterProbe that keeps all it is told."""

    def __init__(self):
        self.events = Counter()
        self.causes = Counter()
        self.commits = 0

    def count(self, event, times=1):
        """Implement MeterProbe.count."""
        self.events[event] += times

    def refused(self, cause, times):
        """Implement MeterProbe.refused."""
        self.causes[cause] += times

    def committed(self, seconds):
        """Implement MeterProbe.committed."""
        self.commits += 1


class FaultyUsage:
    """A UsageStore around another one. `faults` yields for each commit: None, "lost" or "down".

    lost: it is added, and the reply is lost. down: nothing is added.
    """

    def __init__(self, store, faults):
        self.store = store
        self.faults = faults

    def now_ms(self):
        """Implement UsageStore.now_ms."""
        return self.store.now_ms()

    async def commit(self, commit, digests, arrived_ms):
        """Implement UsageStore.commit."""
        fault = next(self.faults, None)
        if fault == "down":
            raise Unavailable("the store is down")
        reply = await self.store.commit(commit, digests, arrived_ms)
        if fault == "lost":
            raise Unavailable("the reply was lost")
        return reply


class CountsWithoutDigest(FaultyUsage):
    """A mutant: it adds every commit."""

    async def commit(self, commit, digests, arrived_ms):
        """Add the commit, whatever its digests."""
        return await super().commit(commit, [], arrived_ms)


class ClaimsFirst(FaultyUsage):
    """A mutant: it writes the digests in a step of their own, before the counts."""

    async def commit(self, commit, digests, arrived_ms):
        """Claim the digests; then add the counts, if no fault comes between."""
        reply = await self.store.commit(type(commit)(), digests, arrived_ms)
        if not isinstance(reply, Counted):
            return reply
        return await super().commit(commit, [], arrived_ms)


class ConfirmsEarly(PartitionedMeter):
    """A mutant: it confirms a batch once the first of its parts is in the store."""

    def _on_part(self, digest, batch, part):
        if digest in self._waiting:
            batch.parts = 1
            super()._on_part(digest, batch, part)
