"""Faults of meters, store and links, one after the other."""

import asyncio
import random
from collections import Counter

from tests.metering.world import World
from tests.support.gate import HOLD, LOSE, PASS, Rule, Verdict, open_to_all


def both(there: Verdict, back: Verdict) -> Rule:
    """Return a rule for every connection."""
    return lambda _name: (there, back)


CUTS = (
    *(both(PASS, LOSE),) * 3,
    both(LOSE, LOSE),
    both(LOSE, PASS),
    both(PASS, HOLD),
    both(HOLD, PASS),
)


class Faults:
    """Breaks a world until cancelled, and mends it at the end. done: how often, by kind."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rnd = random.Random(seed)
        self.done: Counter[str] = Counter()

    async def run(self, is_over) -> None:
        """Break something, and mend it, until `is_over`."""
        kinds = {
            "kill": self._kill,
            "answer lost, then killed": self._kill_before_the_answer,
            "store frozen": self._freeze,
            "store restarted": self._restart,
            "link to the store cut": self._cut_link,
            "link from Envoy cut": self._cut_door,
        }
        while not is_over():
            await asyncio.sleep(self._rnd.uniform(0.05, 0.4))
            kind = self._rnd.choice(list(kinds))
            await kinds[kind]()
            self.done[kind] += 1

    async def _kill(self) -> None:
        meter = self._rnd.choice(self._world.meters)
        await asyncio.to_thread(meter.kill)
        await self._pause()
        meter.start()

    async def _kill_before_the_answer(self) -> None:
        at = self._rnd.randrange(len(self._world.meters))
        door = self._world.doors[at]
        door.set(both(PASS, LOSE))
        await self._pause()
        await asyncio.to_thread(self._world.meters[at].kill)
        door.set(open_to_all)
        self._world.meters[at].start()

    async def _freeze(self) -> None:
        self._world.valkey.pause()
        try:
            await self._pause()
        finally:
            self._world.valkey.resume()

    async def _restart(self) -> None:
        valkey = self._world.valkey
        await asyncio.to_thread(valkey.kill)
        try:
            await asyncio.sleep(self._rnd.uniform(0, 0.3))
        finally:
            await asyncio.to_thread(valkey.start)

    async def _cut_link(self) -> None:
        await self._cut(self._rnd.choice(self._world.links))

    async def _cut_door(self) -> None:
        await self._cut(self._rnd.choice(self._world.doors))

    async def _cut(self, gate) -> None:
        gate.set(self._rnd.choice(CUTS))
        try:
            await self._pause()
        finally:
            gate.set(open_to_all)

    async def _pause(self) -> None:
        await asyncio.sleep(self._rnd.uniform(0.1, 1.2))
