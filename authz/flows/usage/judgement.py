"""Judgement: compares each closed hour of the keys with their habits, and stores the anomalies.

Rules:
1. An hour is judged once it is closed: two hours after its end the store counts none of its
   requests any more.
2. The habits of a key say which hour they have learned last. A key that has this hour is left out,
   so a round that was interrupted is only continued.
3. Of several processes one judges, by a lease. If two did, both would write the same.
4. After an outage, hours are judged in order, at most a day of them. Earlier ones are left out.
5. A latest hour that is not closed yet is of a clock that was wrong. It counts as none.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from authz.core.errors import Unreadable
from authz.core.usage.anomalies.habits import HOUR, fresh, pack, unpack
from authz.core.usage.anomalies.judging import judge
from authz.core.usage.anomalies.ports import HabitStore, KeyHour, Round
from authz.core.usage.anomalies.ranking import Anomaly
from authz.core.usage.billing.differences import closed_before
from authz.core.usage.ports import UsageIndex
from authz.flows.repeated_looks import RepeatedLooks

CHUNK: Final = 200  # keys at a time
CATCH_UP: Final = 24  # hours
WATCHED: Final = 7 * 86_400  # seconds after its latest use in which a key is judged
LEASE_MS: Final = 300_000

log = logging.getLogger("authz.anomalies")
JUDGEMENTS: Final = RepeatedLooks(60.0, "hours are judged later", log)


class Judgement:
    """Judges hours. rounds, keys, anomalies: how many since the start. last: the latest round."""

    def __init__(self, store: HabitStore, index: UsageIndex, instance: str) -> None:
        self._store = store
        self._index = index
        self._instance = instance
        self.rounds = self.keys = 0
        self.anomalies: dict[str, int] = {}
        self.last: Round | None = None

    async def look(self) -> bool:
        """Judge the hours that were closed since the last look.

        Return False if another process judges. Raises Unavailable if the store fails; the next call
        continues.
        """
        if not await self._store.take_lease(self._instance, LEASE_MS):
            return False
        end = closed_before(await self._store.now_ms())
        latest = await self._store.latest()
        if latest is not None and latest.hour >= end:
            latest = None
        first = end - 1 if latest is None else max(latest.hour + 1, end - CATCH_UP)
        self.last = latest or self.last
        for hour in range(first, end):
            if not await self._judge(hour):
                return False
        return True

    async def _judge(self, hour: int) -> bool:
        done = Round(hour)
        seen: set[str] = set()
        async for page in self._index.used_since(hour * 3600 - WATCHED):
            kids = [kid for kid in dict.fromkeys(page) if kid not in seen]
            seen.update(kids)
            for start in range(0, len(kids), CHUNK):
                await self._judge_some(kids[start : start + CHUNK], done)
            if not await self._store.take_lease(self._instance, LEASE_MS):
                return False
        await self._store.finish(done)
        self.rounds += 1
        self.last = done
        return True

    async def _judge_some(self, kids: Sequence[str], done: Round) -> None:
        saved: dict[str, bytes] = {}
        found: list[Anomaly] = []
        for one in await self._store.read(kids, done.hour):
            if one is None:
                done.unreadable += 1
                continue
            data = judged(one, done, found)
            if data is not None:
                saved[one.kid] = data
        if saved:
            await self._store.save(saved, found)
        done.anomalies += len(found)
        self.keys += len(saved)
        for anomaly in found:
            for reason in anomaly.reasons:
                self.anomalies[reason.feature] = self.anomalies.get(reason.feature, 0) + 1
        await asyncio.sleep(0)  # calls of the admin API come between two chunks


def judged(one: KeyHour, done: Round, found: list[Anomaly]) -> bytes | None:
    """Judge one key. Return its new habits; None if it has this hour already, or no hour yet."""
    try:
        habits = fresh(done.hour) if one.habits is None else unpack(one.habits)
    except Unreadable:
        done.unreadable += 1
        habits = fresh(done.hour)
    if habits[HOUR] >= done.hour or (one.habits is None and not one.hour.requests):
        return None
    reasons, gaps = judge(habits, done.hour, one.hour)
    done.keys += 1
    for case in gaps.items():
        done.gaps[case] = done.gaps.get(case, 0) + 1
    if reasons:
        found.append(Anomaly(one.kid, done.hour, tuple(reasons)))
    return pack(habits)
