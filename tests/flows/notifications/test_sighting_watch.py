"""Sightings of sidecars become rows of the trail, also after a failure of the store."""

import pytest

from authz.core.audit import Action, AuditEvent
from authz.core.errors import Unavailable
from authz.core.sightings import Sighting
from authz.flows.notifications.sighting_watch import ROWS, ROWS_OF_KEY, SightingWatch
from tests.support.fakes import NOW, FakeClock

MARK = Sighting(Action.BUDGET, "A" * 16, "", NOW, about="usd-month 80 1772323200000")


class Store:
    """A SightingStore in memory. failing: how many times it cannot settle an entry."""

    def __init__(self) -> None:
        self.entries: dict[str, Sighting | None] = {}
        self.rows: list[AuditEvent] = []
        self.failing = self.added = 0

    async def waiting(self, count: int) -> list[tuple[str, Sighting | None]]:
        """Implement SightingStore.waiting."""
        return list(self.entries.items())[:count]

    async def add(self, one: Sighting) -> None:
        """Implement SightingStore.add."""
        self.added += 1
        self.entries[f"{self.added}-0"] = one

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


def canary(at, kid="C" * 16):
    """Return a use of a canary key from one of many networks."""
    return Sighting(Action.CANARY, kid, f"192.0.{at % 256}.0/24", NOW)


async def test_a_flood_of_one_canary_key_does_not_fill_the_trail():
    """Uses beyond ten a minute are one row of the next minute, with their number."""
    store, clock = Store(), FakeClock()
    watch = SightingWatch(store, clock, "one")
    for at in range(300):
        await store.add(canary(at))
    await watch.look()
    assert (len(store.rows), store.entries) == (ROWS_OF_KEY, {})
    clock.advance(60)
    await watch.look()
    assert len(store.rows) == ROWS_OF_KEY + 1
    last = store.rows[-1].detail
    assert (last["uses"], last["network"]) == (300 - ROWS_OF_KEY, "")
    assert sum(row.detail["uses"] for row in store.rows) == 300


async def test_a_flood_of_many_keys_waits():
    """At most 600 rows come in a minute; the others wait and none is lost."""
    store, clock = Store(), FakeClock()
    watch = SightingWatch(store, clock, "one")
    for at in range(1000):
        await store.add(canary(at, f"{at:016}"))
    for rows in (ROWS, 1000):
        for _ in range(3):
            await watch.look()
        assert len(store.rows) == rows
        clock.advance(60)
