"""Ports of the commands about usage: the flows that they need, over the store or the admin API."""

from __future__ import annotations  # the types are for readers and checkers alone

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.core.selector import Selector
    from authz.core.usage.anomalies.ports import UnusualKeys
    from authz.core.usage.counts import Counts
    from authz.core.usage.question import By, LatestUse, Report, Span, TopBy
    from authz.flows.by import By as Authorship


class UseReader(Protocol):
    """Reads when and how often keys were used. Methods raise Unavailable, and Unreadable."""

    async def latest_use(self, kid: str) -> LatestUse:
        """Return the latest use of a key and of its secrets, and the counts of 30 days."""
        ...

    async def latest_times(self, kids: Sequence[str]) -> Mapping[str, int]:
        """Return the latest use by kid, in seconds since the epoch, without keys never used."""
        ...

    async def requests_of_30_days(self, kids: Sequence[str]) -> Mapping[str, int]:
        """Return the number of requests of the last 30 days by kid; 0 for a key without any."""
        ...


@dataclass(frozen=True, slots=True)
class TopKey:
    """The usage of a key. client_id: None if the key was deleted or cannot be read."""

    kid: str
    client_id: str | None
    counts: Counts


class UsageReports(Protocol):
    """Answers questions about usage. Methods raise Unavailable, and Unreadable."""

    async def of_key(self, kid: str, span: Span, by: By) -> Report:
        """Return the usage of one key, also of a deleted one.

        Raises NotFound if there is neither a key nor a request with this kid.
        """
        ...

    async def of_selected(self, selector: Selector, span: Span, by: By) -> Report:
        """Return the sums over the keys that fit; of all requests if the selector is empty."""
        ...

    async def top(self, span: Span, by: TopBy, limit: int) -> tuple[Sequence[TopKey], int]:
        """Return the keys that were used most, the first one most, and how many were compared."""
        ...

    async def unusual(self, since: int | None, limit: int) -> UnusualKeys:
        """Return at most `limit` keys with unusual hours.

        since: ms since the epoch; None: a day before the latest hour that was judged. Raises
        BadInput about `since` if it is more than 35 days ago.
        """
        ...


class CallerEraser(Protocol):
    """Erases the facts about the callers of keys."""

    async def erase(self, kid: str, by: Authorship) -> int:
        """Return how many facts were erased. The audit trail is told first. Raises Unavailable."""
        ...
