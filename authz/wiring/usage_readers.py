"""The readers of usage, for commands and for the admin API."""

from authz.core.ports import Clock
from authz.core.usage.completeness import Completeness
from authz.core.usage.ports import KeyFacts
from authz.flows.selection import Selection
from authz.flows.usage.anomaly_reports import AnomalyReports
from authz.flows.usage.last_use import FIELD, LastUse
from authz.flows.usage.reading import UsageReading
from authz.process.clock import SystemClock
from authz.storage.endpoint import Client
from authz.storage.usage.habits import StoredHabits
from authz.storage.usage.many_keys import StoredUsageIndex
from authz.storage.usage.month_ranking import StoredRanking
from authz.storage.usage.stored_usage import StoredUsage


def usage_reading(client: Client) -> UsageReading:
    """Return the reading of usage."""
    stored, index = StoredUsage(client), StoredUsageIndex(client)
    return UsageReading(
        stored, stored, index, index, ranking=StoredRanking(client), clock=SystemClock()
    )


def anomaly_reports(client: Client, selection: Selection, clock: Clock) -> AnomalyReports:
    """Return the ranking of the keys whose hours are unusual."""
    return AnomalyReports(StoredHabits(client), selection, clock)


def last_use(client: Client, field: str = FIELD) -> LastUse:
    """Return the finder of unused keys. field: the name of the condition in its errors."""
    return LastUse(StoredUsageIndex(client), StoredUsage(client), SystemClock(), field)


class RecordedUses:
    """A UsageFacts over a client of the store."""

    def __init__(self, client: Client) -> None:
        self._stored, self._reading = StoredUsage(client), usage_reading(client)

    async def facts(self, kid: str) -> KeyFacts:
        """Implement UsageFacts.facts."""
        return await self._stored.facts(kid)

    async def completeness(self) -> Completeness:
        """Implement UsageFacts.completeness."""
        return await self._reading.completeness()

    async def misdated(self) -> int:
        """Implement UsageFacts.misdated."""
        return (await self._stored.sums()).get("misdated", 0)
