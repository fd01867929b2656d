"""Sightings of sidecars become rows of the trail, also after a failure of the store."""

import pytest

from authz.core.audit import Action, AuditEvent
from authz.core.errors import Unavailable
from authz.core.sightings import Sighting
from authz.flows.notifications.sighting_watch import SightingWatch
from tests.support.fakes import NOW, FakeClock

MARK = Sighting(Action.BUDGET, "A" * 16, "", NOW, about="usd-month 80 1772323200000")


class Store:
    """A SightingStore in memory. failing: how many times it cannot settle an entry."""

    def __init__(self) -> None:
        self.entries: dict[str, Sighting | None] = {}
        self.rows: list[AuditEvent] = []
        self.failing = 0

    async def waiting(self, count: int) -> list[tuple[str, Sighting | None]]:
        """Implement SightingStore.waiting."""
        return list(self.entries.items())[:count]

    async def add(self, one: Sighting) -> None:
        """Implement SightingStore.add."""
        self.entries[f"{len(self.entries)}-0"] = one

    async def settle(self, entry_id: str, event: AuditEvent | None) -> None:
        """Implement SightingStore.settle."""
        if self.failing:
            self.failing -= 1
            raise Unavailable("down")
        del self.entries[entry_id]
        self.rows += [event] if event else []


async def test_a_mark_that_could_not_be_written_is_written_later():
    """Several sidecars report it; the store fails at the first of them."""
    store = Store()
    watch = SightingWatch(store, FakeClock(), "one")
    await store.add(MARK)
    await store.add(MARK)
    store.failing = 1
    with pytest.raises(Unavailable):
        await watch.look()
    assert await watch.look() == 2
    (row,) = store.rows
    assert row.detail["budget"] == "usd-month"
    assert not store.entries
