"""A HabitStore in memory, for the tests of flows."""

from authz.core.errors import Unavailable
from authz.core.usage.anomalies.judging import Hour
from authz.core.usage.anomalies.ports import KeyHour
from tests.support.fakes import NOW

FIRST = NOW // 3_600_000


class MemoryHabits:
    """Habits and anomalies in memory. hours: by kid and hour. now: of the store, in ms.

    fails_after: how many more calls of save work; None: all.
    """

    def __init__(self) -> None:
        self.hours: dict[tuple[str, int], Hour | None] = {}
        self.habits: dict[str, bytes] = {}
        self.found: dict = {}
        self.rounds: list = []
        self.leader = ""
        self.now = NOW
        self.fails_after: int | None = None

    async def now_ms(self):
        """Implement HabitStore.now_ms."""
        return self.now

    async def take_lease(self, instance, ms):
        """Implement HabitStore.take_lease; the lease has no end."""
        self.leader = self.leader or instance
        return self.leader == instance

    async def read(self, kids, hour):
        """Implement HabitStore.read."""
        found = []
        for kid in kids:
            one = self.hours.get((kid, hour), Hour())
            found.append(one and KeyHour(kid, self.habits.get(kid), one))
        return found

    async def save(self, habits, found):
        """Implement HabitStore.save."""
        if self.fails_after == 0:
            raise Unavailable("the store is gone")
        if self.fails_after:
            self.fails_after -= 1
        self.habits.update(habits)
        self.found.update({(one.kid, one.hour): one for one in found})

    async def finish(self, done):
        """Implement HabitStore.finish."""
        self.rounds.append(done)

    async def latest(self):
        """Implement AnomalyReader.latest."""
        return self.rounds[-1] if self.rounds else None

    async def anomalies(self, hours):
        """Implement AnomalyReader.anomalies."""
        return [one for one in self.found.values() if one.hour in hours]


class AllKids:
    """A UsageIndex that has used_since alone."""

    def __init__(self, *kids: str) -> None:
        self.kids = kids

    async def used_since(self, since):
        """Implement UsageIndex.used_since; each kid comes twice."""
        del since
        for kid in (*self.kids, *self.kids):
            yield [kid]
