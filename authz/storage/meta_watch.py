"""MetaWatch: knows at any time whether the store is reachable and ours, for a long process."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Final

import redis.asyncio

from authz.core.errors import Foreign, Frozen, Unavailable
from authz.core.ports import Clock
from authz.storage import schema
from authz.storage.endpoint import Endpoint
from authz.storage.function_loading import FunctionLoading
from authz.storage.latest_meta import LatestMeta
from authz.storage.meta import Emptied
from authz.storage.registry import highest_seen
from authz.storage.replies import checked, last_change
from authz.storage.seals import seals_of
from authz.storage.signpost import refuse_other_count

log = logging.getLogger("authz.store")

INTERVAL: Final = 1.0  # seconds between two reads of authz:meta
LEASE: Final = 5.0  # seconds for which a read counts


class MetaWatch:
    """Reads authz:meta once a second while `run` runs. meta: a PepperProof from the last good read.

    where: the partition, of several: names the number that the store has, if it has no authz:meta.
    reason: why the last read failed; empty if it did not.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        clock: Clock,
        fingerprints: Mapping[str, str],
        prefixes: Collection[str],
        where: Endpoint | None = None,
    ) -> None:
        self._where = where
        self._client = client
        self._clock = clock
        self._name = schema.names_of(client).meta
        self._seals = seals_of(client)
        self._until = float("-inf")
        self._highest = 0  # the last change that was seen while the store was ours
        self._functions = FunctionLoading(client)
        names = schema.names_of(client)
        self.meta = LatestMeta(fingerprints, lambda: self.is_current, prefixes, names)
        self.reason = "not read yet"

    @property
    def is_current(self) -> bool:
        """True if a read of the last LEASE (5 s) found the store ours.

        A read that fails changes nothing, nor does one of a store that has other partitions now:
        it was moved. A read of an emptied or foreign store makes it False.
        """
        return self._clock.monotonic() < self._until

    async def look(self) -> None:
        """Read once. A failure is not raised: it is in `reason`, and in the log if it is new."""
        sent, problem = self._clock.monotonic(), ""
        try:
            found = await checked(self._client.hgetall(self._name))
            if not found:
                if self._where is not None:
                    await refuse_other_count(self._where)
                raise Emptied(max(self._highest, await highest_seen(self._client)))
            self.meta.update(found)
            self._highest = max(self._highest, await last_change(self._client))
            if self._seals is not None:
                self._seals.note(found)
        except Unavailable as cause:
            problem = str(cause)
            move = self.meta.move
            if isinstance(cause, Frozen) and move is not None:  # it is ours, and can be read
                self._until = sent + LEASE
            elif isinstance(cause, Emptied | Foreign) and move is None:
                self._until = float("-inf")  # else the last read may still count
        else:
            self._until = sent + LEASE
        if problem != self.reason:
            self.reason = problem
            if problem:
                log.warning("%s", problem)
            else:
                log.info("the store is ours")

    async def run(self) -> None:
        """Read again and again, until cancelled. On a cluster also load functions that lack."""
        while True:
            await self.look()
            if not self.reason:
                await self._functions.follow()
            await asyncio.sleep(INTERVAL)
