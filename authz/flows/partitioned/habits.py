"""Habits and anomalies in several partitions: those of a key lie in its partition.

The lease of the judgement and its latest round belong to no key, so they lie in partition 0.
"""

from collections.abc import Mapping, Sequence

from authz.core.usage.anomalies.ports import HabitStore, KeyHour, Round
from authz.core.usage.anomalies.ranking import Anomaly
from authz.flows.partitioned.asking import ask, ask_all, ask_each
from authz.flows.partitioned.places import Places


class PartitionedHabits:
    """A HabitStore."""

    def __init__(self, places: Places, parts: Sequence[HabitStore]) -> None:
        self._places = places
        self._parts = parts

    async def now_ms(self) -> int:
        """Implement HabitStore.now_ms: an hour is over when it is by every clock."""
        return min(await ask_all([part.now_ms() for part in self._parts]))

    async def take_lease(self, instance: str, ms: int) -> bool:
        """Implement HabitStore.take_lease."""
        return await ask(0, self._parts[0].take_lease(instance, ms))

    async def read(self, kids: Sequence[str], hour: int) -> Sequence[KeyHour | None]:
        """Implement HabitStore.read."""
        homes = await self._places.of_all(kids)
        return await ask_each(kids, homes, lambda at, own: self._parts[at].read(own, hour))

    async def save(self, habits: Mapping[str, bytes], found: Sequence[Anomaly]) -> None:
        """Implement HabitStore.save: in one step for each key, and for the keys of a partition.

        If it raises, some partitions may have theirs: these keys are not judged again.
        """
        kids = list({*habits, *(one.kid for one in found)})
        homes = dict(zip(kids, await self._places.of_all(kids), strict=True))
        for at in sorted(set(homes.values())):
            own = {kid: data for kid, data in habits.items() if homes[kid] == at}
            odd = [one for one in found if homes[one.kid] == at]
            await ask(at, self._parts[at].save(own, odd))

    async def finish(self, done: Round) -> None:
        """Implement HabitStore.finish."""
        await ask(0, self._parts[0].finish(done))

    async def latest(self) -> Round | None:
        """Implement AnomalyReader.latest."""
        return await ask(0, self._parts[0].latest())

    async def anomalies(self, hours: range) -> Sequence[Anomaly]:
        """Implement AnomalyReader.anomalies."""
        found = await ask_all([part.anomalies(hours) for part in self._parts])
        return [one for each in found for one in each]
