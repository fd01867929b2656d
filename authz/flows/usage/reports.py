"""StoreUsage: usage in the store, as commands ask for it."""

from collections.abc import AsyncIterator, Sequence

from authz.core.admin_ports import KeyStore
from authz.core.errors import NotFound
from authz.core.selector import Selector
from authz.core.usage.anomalies.ports import UnusualKeys
from authz.core.usage.question import By, Report, Span, TopBy
from authz.flows.by import By as Authorship
from authz.flows.selection import Selection
from authz.flows.usage.anomaly_reports import AnomalyReports
from authz.flows.usage.command_ports import TopKey
from authz.flows.usage.erasure import Erasure
from authz.flows.usage.reading import UsageReading


class StoreUsage:
    """UsageReports and CallerEraser over the store."""

    def __init__(
        self,
        reading: UsageReading,
        erasure: Erasure,
        selection: Selection,
        keys: KeyStore,
        anomalies: AnomalyReports,
    ) -> None:
        self._reading = reading
        self._erasure = erasure
        self._selection = selection
        self._keys = keys
        self._anomalies = anomalies

    async def of_key(self, kid: str, span: Span, by: By) -> Report:
        """Return the usage of one key, also of a deleted one. Raises NotFound."""
        report = await self._reading.of_key(kid, span, by)
        if not report.groups and await self._keys.find(kid) is None:
            raise NotFound(f"no key has the kid {kid}, and none had it at that time")
        return report

    async def of_selected(self, selector: Selector, span: Span, by: By) -> Report:
        """Return the sums over the keys that fit; of all requests if the selector is empty."""
        if selector.is_empty:
            return await self._reading.all_requests(span, by)

        async def kids() -> AsyncIterator[str]:
            async for entry in self._selection.each(selector):
                if entry.record is not None:
                    yield entry.kid

        return await self._reading.of_keys(kids(), span, by)

    async def top(self, span: Span, by: TopBy, limit: int) -> tuple[Sequence[TopKey], int]:
        """Return the keys that were used most, and how many were compared."""
        found = await self._reading.top(span, by, limit)
        entries = await self._selection.read([kid for kid, _ in found.keys])
        rows = [
            TopKey(kid, entry.record.client_id if entry.record else None, counts)
            for (kid, counts), entry in zip(found.keys, entries, strict=True)
        ]
        return rows, found.looked_at

    async def unusual(self, since: int | None, limit: int) -> UnusualKeys:
        """Return the keys whose hours are unusual, with their clients."""
        return await self._anomalies.unusual(since, limit)

    async def erase(self, kid: str, by: Authorship) -> int:
        """Erase the facts about the callers of a key. Return how many there were."""
        return await self._erasure.erase(kid, by.author())
