"""The readers of usage, for commands and for the admin API."""

from authz.core.ports import Clock
from authz.core.usage.anomalies.ports import HabitStore
from authz.core.usage.billing.ports import ClosedHours
from authz.core.usage.completeness import Completeness
from authz.core.usage.ports import KeyFacts, MonthRanking
from authz.flows.partitioned.habits import PartitionedHabits
from authz.flows.partitioned.usage import (
    PartitionedClosedHours,
    PartitionedRanking,
    PartitionedUsage,
    PartitionedUsageIndex,
    StoredIndex,
    StoredSums,
)
from authz.flows.selection import Selection
from authz.flows.usage.anomaly_reports import AnomalyReports
from authz.flows.usage.last_use import FIELD, LastUse
from authz.flows.usage.reading import UsageReading
from authz.storage.usage.closed_hours import StoredClosedHours
from authz.storage.usage.habits import StoredHabits
from authz.storage.usage.many_keys import StoredUsageIndex
from authz.storage.usage.month_ranking import StoredRanking
from authz.storage.usage.stored_usage import StoredUsage
from authz.wiring.store_parts import StoreParts


def usage_reading(parts: StoreParts) -> UsageReading:
    """Return the reading of usage."""
    stored, index = usage_sums(parts), usage_index(parts)
    return UsageReading(stored, stored, index, index, ranking=ranking(parts), clock=parts.clock)


def usage_sums(parts: StoreParts) -> StoredSums:
    """Return the counts of keys and of all requests."""
    return parts.joined(parts.each(StoredUsage), PartitionedUsage)


def usage_index(parts: StoreParts) -> StoredIndex:
    """Return the usage of many keys, and the processes of the gate."""
    return parts.joined(parts.each(StoredUsageIndex), PartitionedUsageIndex)


def ranking(parts: StoreParts) -> MonthRanking:
    """Return the rankings of months."""
    return parts.joined(parts.each(StoredRanking), PartitionedRanking)


def closed_hours(parts: StoreParts) -> ClosedHours:
    """Return the hours of keys, for billing."""
    return parts.joined(parts.each(StoredClosedHours), PartitionedClosedHours)


def habits(parts: StoreParts) -> HabitStore:
    """Return the habits of keys and the anomalies."""
    return parts.joined(parts.each(StoredHabits), PartitionedHabits)


def anomaly_reports(parts: StoreParts, selection: Selection, clock: Clock) -> AnomalyReports:
    """Return the ranking of the keys whose hours are unusual."""
    return AnomalyReports(habits(parts), selection, clock)


def last_use(parts: StoreParts, field: str = FIELD) -> LastUse:
    """Return the finder of unused keys. field: the name of the condition in its errors."""
    return LastUse(usage_index(parts), usage_sums(parts), parts.clock, field)


class RecordedUses:
    """A UsageFacts over the store."""

    def __init__(self, parts: StoreParts) -> None:
        self._stored, self._reading = usage_sums(parts), usage_reading(parts)

    async def facts(self, kid: str) -> KeyFacts:
        """Implement UsageFacts.facts."""
        return await self._stored.facts(kid)

    async def completeness(self) -> Completeness:
        """Implement UsageFacts.completeness."""
        return await self._reading.completeness()

    async def misdated(self) -> int:
        """Implement UsageFacts.misdated."""
        return (await self._stored.sums()).get("misdated", 0)
