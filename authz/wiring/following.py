"""Following: a running sidecar goes on with more partitions when the store was moved to them.

1. authz:meta announces the move. The sidecar connects to the partitions and registers there, so a
   change that is made right after the move waits for this sidecar, too.
2. The store takes no more changes, so trust ends. Cached records are served for their grace. Limits
   are not counted any more: the move copies their counters.
3. The move is done: a signpost stands in the place of authz:meta. As soon as the partitions are
   trusted, they decide about the next Check. After SWITCHED_LEASES leases that is so in any case:
   the records of partitions that are not trusted then are taken along, and served for their grace.
4. Leases of limits, requests that passed uncounted, and sightings are taken along. Revoked kids
   stay revoked. The final number of charge ids is reported to partition 0. Then the old links end.
If the move is cancelled before it is done, the sidecar leaves the partitions again.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from math import isfinite
from typing import Final

from authz.core.errors import Unavailable
from authz.core.partitions import Partitions
from authz.flows.cache_contents import CacheContents
from authz.process.readiness import Readiness
from authz.settings.model import Settings
from authz.storage.moves import FROZEN
from authz.wiring.components import Components
from authz.wiring.partition_count import resolved, sized, warn_of_old_setting
from authz.wiring.partition_set import PartitionSet, partition_set
from authz.wiring.running_partitions import Described, RunningPartitions, awaiting_partitions
from authz.wiring.telemetry import Parts

log = logging.getLogger("authz")

SWITCHED_LEASES: Final = 2
LOOK_SECONDS: Final = 0.01  # between two looks at the trust in new partitions, after the move
RETRY_SECONDS: Final = 1.0
MOST_REVOKED: Final = 10_000  # kids that are taken along, the newest


class Following:
    """Follows the moves of the store while `run` runs. running: the partitions that are in use.

    is_certain: their number is not a guess.
    """

    def __init__(
        self,
        built: Components,
        running: RunningPartitions,
        group: asyncio.TaskGroup,
        described: Described,
        *,
        readiness: Readiness,
        metrics: Parts,
        is_certain: bool,
    ) -> None:
        self._built = built
        self._given = built.live.in_force
        self._group = group
        self._described = described
        self._readiness = readiness
        self._metrics = metrics
        self._is_certain = is_certain
        self._next: RunningPartitions | None = None  # is awaited
        self._ending: RunningPartitions | None = None  # was in use
        self._changed = asyncio.Event()
        self.running = running

    async def run(self) -> None:
        """Follow moves until the store has several partitions, as far as the settings allow it."""
        if self._given.redis.partitions not in (None, 1):
            return
        if len(self.running.found.partitions) > 1 and not self._is_certain:
            await self._correct()
        if len(self.running.found.partitions) == 1:
            await self._follow()

    async def stop(self) -> None:
        """Leave all partitions, after `run` has ended and this sidecar has stopped serving.

        With `cache.snapshot` the registry entries stay, and the snapshot is written.
        """
        await self._drop()
        if self._ending is not None:
            self._ending.cancel()
        running = self.running
        await running.leave(keeps_entries=bool(running.writers))
        await running.save()

    async def _correct(self) -> None:
        """Go on with the number of partitions that the store names, once it can be asked."""
        while True:
            try:
                count = (await resolved(self._given)).redis.count
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if count != len(self.running.found.partitions):
                await self._await(count, awaits_data=False)
                await self._use_next()
            return

    async def _follow(self) -> None:
        one = self.running.found.partitions[0]
        one.feed.meta.on_move = self._changed.set
        while True:
            move = one.feed.meta.move
            is_over = move is not None and (move.is_done or one.feed.is_frozen)
            one.spend_link.moving = FROZEN.format(move.count) if move else ""
            one.spend_link.paused = one.spend_link.moving if is_over else ""
            wait = None
            if move is None:
                await self._drop()
            elif not move.is_done:
                await self._await(move.count, awaits_data=True)
                wait = RETRY_SECONDS  # a freeze can be over before a heartbeat meets it
            elif await self._may_follow(move.count):
                await self._await(move.count, awaits_data=False)
                await self._use_next()
                return
            else:
                wait = RETRY_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)
            self._changed.clear()

    async def _may_follow(self, count: int) -> bool:
        """Return whether the settings accept a store that has `count` partitions now."""
        was_trusted = self.running.found.partitions[0].feed.health().trust_age is not None
        if self._given.redis.partitions is None or self._next is not None or was_trusted:
            return True
        with suppress(Unavailable):
            return (await resolved(self._given)).redis.count == count
        return False

    async def _await(self, count: int, *, awaits_data: bool) -> None:
        """Connect to `count` partitions, unless that was done before."""
        if self._next is not None and len(self._next.found.partitions) != count:
            await self._drop()
        if self._next is None:
            log.info("the store moves to %d partitions; connecting to them", count)
            settings = sized(self._built.live.in_force, count)
            found = partition_set(settings, self._built.shared, awaits_data=awaits_data)
            self._next = awaiting_partitions(found, self._built.shared, self._described)
            self._next.start(self._group, self._built.shared)

    async def _drop(self) -> None:
        """Leave the partitions that were awaited, if there are any."""
        dropped, self._next = self._next, None
        if dropped is not None:
            log.info("leaving the %d partitions again", len(dropped.found.partitions))
            try:
                await dropped.leave()
            finally:
                dropped.cancel()
                dropped.claims.close()

    async def _use_next(self) -> None:
        """Decide by the partitions that were awaited from now on, and end the ones before."""
        following = self._next
        assert following is not None  # noqa: S101  it was awaited
        before, found = self.running, following.found
        await self._wait_for_trust(found)
        await _take_along(before.found, found)

        def prepare(settings: Settings) -> Callable[[], None]:
            exchange = self._built.target.prepare_set(found, settings)

            def exchange_all() -> None:
                exchange()
                _take_sightings(before.found, found)
                self._readiness.replace(*found.health)
                self._metrics.replace(found.partitions, found.checker)
                self._ending, self._next, self.running = before, None, following

            return exchange_all

        await self._built.live.exchange(prepare)
        following.use(self._group)
        count = len(found.partitions)
        log.info("Checks are decided with the %d partitions of the store", count)
        if self._given.redis.partitions not in (None, count):
            warn_of_old_setting(count)
        for ids in before.found.charge_ids.parts:
            await following.registrations[0].report_issued(ids.prefix.decode(), ids.issued)
        await before.leave()
        before.claims.close()

    async def _wait_for_trust(self, found: PartitionSet) -> None:
        clock, lease = self._built.clock, found.settings.cache.trust_lease
        end = clock.monotonic() + SWITCHED_LEASES * lease
        for one in found.partitions:
            one.feed.look()
        while not all(one.cache.is_trusted for one in found.partitions):
            if clock.monotonic() >= end:
                log.warning("not every partition of the store is trusted after its move")
                return
            await asyncio.sleep(LOOK_SECONDS)


async def _take_along(before: PartitionSet, found: PartitionSet) -> None:
    """Give revoked kids to the caches of `found`, and records to those that are not trusted."""
    held = [one.imported.contents() for one in before.partitions]
    revoked = [kid for contents in held for kid in contents.revoked][-MOST_REVOKED:]
    for one in found.partitions:
        for kid in revoked:
            one.cache.forget(kid, revoked=True)
        await asyncio.sleep(0)  # requests are answered meanwhile
    if all(one.cache.is_trusted for one in found.partitions):
        return
    for contents in held:
        if isfinite(contents.last_trusted):
            parts = await asyncio.to_thread(divided, contents, len(found.partitions))
            for one, part in zip(found.partitions, parts, strict=True):
                if not one.cache.is_trusted:
                    one.imported.restore(part)


def _take_sightings(before: PartitionSet, found: PartitionSet) -> None:
    """Give what was not sent to partition 0: the trail of each moved key goes on there, too."""
    for one in before.partitions:
        for seen in one.sightings.release():
            found.partitions[0].sightings.put_back(seen)


def divided(contents: CacheContents, count: int) -> list[CacheContents]:
    """Return the records and aliases of each of `count` partitions: of the homes of the keys."""
    homes = {record.kid: Partitions(count).home_of(record) for record in contents.records()}
    packed: list[dict[str, bytes]] = [{} for _ in range(count)]
    for kid, record in contents.packed.items():
        packed[homes[kid]][kid] = record
    aliases: list[list[tuple[bytes, str]]] = [[] for _ in range(count)]
    for digest, kid in contents.aliases:
        if kid in homes:
            aliases[homes[kid]].append((digest, kid))
    return [
        replace(contents, packed=some, revoked=[], aliases=those)
        for some, those in zip(packed, aliases, strict=True)
    ]
