"""AnomalyReports: the ranking of the keys whose hours are unusual."""

from typing import Final

from authz.core.errors import BadInput
from authz.core.ports import Clock
from authz.core.usage.anomalies.ports import AnomalyReader, UnusualKeys
from authz.core.usage.anomalies.ranking import ranking
from authz.core.usage.question import HOUR_MS
from authz.flows.selection import Selection
from authz.flows.usage.reading import VisibleKids

KEPT_HOURS: Final = 35 * 24
LOOK_BACK: Final = 24  # hours


class AnomalyReports:
    """Reads anomalies and the clients of their keys."""

    def __init__(self, reader: AnomalyReader, selection: Selection, clock: Clock) -> None:
        self._reader = reader
        self._selection = selection
        self._clock = clock

    async def unusual(
        self,
        since: int | None,
        limit: int,
        visible: VisibleKids | None = None,
        only: str = "",
    ) -> UnusualKeys:
        """Return at most `limit` keys, those with most features first.

        since: ms since the epoch; None: LOOK_BACK (24) hours up to the latest one that was judged.
        visible: finds the keys that the reader may see; None: the reader may see all, and the
        latest round. only: the kid of one key; empty: all keys. Raises BadInput about `since` if it
        is more than 35 days ago, Unavailable.
        """
        now = self._clock.wall_ms() // HOUR_MS
        if since is not None and since // HOUR_MS < now - KEPT_HOURS:
            raise BadInput("since", f"anomalies are kept for {KEPT_HOURS // 24} days")
        judged = await self._reader.latest()
        last = min(judged.hour, now) if judged else now
        first = last - LOOK_BACK + 1 if since is None else since // HOUR_MS
        ranked = ranking(await self._reader.anomalies(range(first, last + 1)))
        if only:
            ranked = [one for one in ranked if one.kid == only]
        if visible is not None:
            seen = frozenset(await visible([one.kid for one in ranked]))
            ranked = [one for one in ranked if one.kid in seen]
        entries = await self._selection.read([one.kid for one in ranked[:limit]])
        keys = [
            (one, entry.record.client_id if entry.record else None)
            for one, entry in zip(ranked, entries, strict=False)
        ]
        return UnusualKeys(keys, len(ranked), judged if visible is None else None)
