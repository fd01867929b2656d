"""DueKeys: the keys that need a new secret by their rotation policy."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.rotation import RotationPolicies
from authz.core.selector import Selector
from authz.flows.selection import Cost, Entry, Selection, first

Place = tuple[int, str]
"""The place of a due key in the list: when it is due (ms), and its kid."""


@dataclass(frozen=True, slots=True)
class DueKey:
    """A key that is due. at: ms since the epoch."""

    record: KeyRecord
    at: int
    is_overdue: bool

    @property
    def place(self) -> Place:
        """The place of the key in the list."""
        return self.at, self.record.kid


class DueKeyFinder(Protocol):
    """Finds the keys that need a new secret by their rotation policy."""

    async def find(self, within_ms: int) -> Sequence[DueKey]:
        """Return the keys that are due in `within_ms` from now, the most urgent first.

        Raises Unavailable.
        """
        ...


class DueKeys:
    """Finds due keys. Each call looks at every key. Methods raise Unavailable."""

    def __init__(self, selection: Selection, policies: RotationPolicies, clock: Clock) -> None:
        self._selection = selection
        self._policies = policies
        self._clock = clock

    async def find(self, within_ms: int) -> Sequence[DueKey]:
        """Return the keys that are due in `within_ms` from now, the most urgent first."""
        return await self.first(within_ms, None)

    async def first(
        self,
        within_ms: int,
        limit: int | None,
        after: Place | None = None,
        *,
        selector: Selector | None = None,
        keep: Callable[[KeyRecord], bool] | None = None,
    ) -> Sequence[DueKey]:
        """Return at most `limit` of these keys that follow `after`; None: all, and the first ones.

        keep: leaves out keys that the reader may not see.
        """
        now = self._clock.wall_ms()

        async def due() -> AsyncIterator[Entry]:
            async for entry in self._selection.each(selector or Selector(), Cost(), keep):
                at = None if entry.record is None else self._due_at(entry.record, now)
                if at is None or at > now + within_ms:
                    continue
                if after is None or (at, entry.kid) > after:
                    yield entry

        def order(record: KeyRecord) -> Place:
            return self._due_at(record, now) or 0, record.kid

        records = [one.record for one in await first(due(), limit, order)]
        return [self._due(record, now) for record in records if record is not None]

    def _due_at(self, record: KeyRecord, now: int) -> int | None:
        policy = self._policies.of(record, now)
        return policy.due_at(record) if policy else None

    def _due(self, record: KeyRecord, now: int) -> DueKey:
        at = self._due_at(record, now) or 0
        return DueKey(record, at, at <= now)
