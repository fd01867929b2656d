"""One process with many sidecars' data paths: link, feed, cache and registry entry of each.

    python -m tests.bench.many_sidecars URL COUNT

It reads a command from each line of stdin and answers with one line of JSON; see `Sidecars`.
"""

import asyncio
import gc
import json
import logging
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import uvloop

from authz.core.abuse import FailureBuckets
from authz.core.events import Event
from authz.core.limits.charge import SpendReply, SpendRequest, charge_for
from authz.flows.keycache import KeyCache
from authz.storage.abuse import AbuseLink
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.limits.spend_link import SpendLink
from authz.storage.link import Link
from authz.storage.linked_keys import LinkedKeys
from authz.storage.registration import Identity, Registration
from tests.spending.plans import make_terms
from tests.support.fakes import RecordingProbe, make_keyring
from tests.support.real import RealClock, eventually

LEASE = 1.0  # seconds, as by default
PATIENCE = 300.0  # seconds, on a busy machine
LIMIT = "1000000/min"
ASKED = 10  # requests in a lease of units


class Cache(KeyCache):
    """A cache that notes when a change was applied, and when the store was trusted first."""

    def __init__(self, feed: ChangeFeed, applied: dict[str, list[float]]) -> None:
        probe = RecordingProbe()
        super().__init__(
            LinkedKeys(feed, probe),
            RealClock(),
            probe,
            ttl=60,
            negative_ttl=5,
            max_entries=100_000,
            max_negatives=1000,
            deadline=1,
        )
        self.trusted_at = 0.0
        self._awaits_loss = False
        self._applied = applied

    def watch(self) -> None:
        """Note the first trust after the next loss of it."""
        self.trusted_at, self._awaits_loss = 0.0, True

    def forget(self, kid: str, *, revoked: bool) -> None:
        """Implement ChangeSink.forget."""
        super().forget(kid, revoked=revoked)
        self._applied[kid].append(time.time())

    def trust(self, until: float) -> None:
        """Implement ChangeSink.trust."""
        super().trust(until)
        if not self.is_trusted:
            self._awaits_loss = False
        elif not self._awaits_loss and not self.trusted_at:
            self.trusted_at = time.time()


class Connections(RecordingProbe):
    """A probe that notes when a link was made."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[float] = []

    def count(self, event: Event, times: int = 1) -> None:
        """Implement Probe.count."""
        if event is Event.LINK_CONNECTED:
            self.at.append(time.time())


class Sidecars:
    """So many sidecars. Each public method is a command and returns its answer."""

    def __init__(self, url: str, count: int) -> None:
        self._endpoint = Endpoint.parse(url)
        self._clock = RealClock()
        self._applied: dict[str, list[float]] = defaultdict(list)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ring = make_keyring()
        self._connections = Connections()
        self._feeds: list[ChangeFeed] = []
        self._caches = [self._start(f"bench-{os.getpid()}-{number}") for number in range(count)]

    def _start(self, instance: str) -> Cache:
        feed = ChangeFeed(
            self._endpoint,
            self._clock,
            self._connections,
            lease=LEASE,
            fingerprints=self._ring.fingerprints,
        )
        cache = Cache(feed, self._applied)
        identity = Identity(
            instance=instance,
            version="bench",
            address="127.0.0.1:9191",
            started_at=self._clock.wall_ms(),
            lease_ms=round(LEASE * 1000),
            grace_ms=30_000,
            charges="0123456789abcdef",
        )
        registration = Registration(
            cache,
            feed,
            self._clock,
            identity,
            entries=cache.__len__,
            seals=self._ring.entry_seals,
        )
        abuse = AbuseLink(FailureBuckets(100, 60_000), feed.names, self._clock)

        def announce(link: Link) -> None:
            registration.announce(link)
            abuse.send(link)

        self._feeds.append(feed)
        self._run(feed.run(registration, announce))
        return cache

    def _run(self, work: Any) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def ready(self) -> int:
        """Wait until all trust the store, or did."""
        await eventually(lambda: all(cache.trusted_at for cache in self._caches), PATIENCE)
        gc.collect()
        gc.freeze()  # a full collection walks every module that was imported
        return len(self._caches)

    async def reach(self, seq: str) -> int:
        """Wait until all have applied change `seq`."""
        await eventually(lambda: all((feed.seq or 0) >= int(seq) for feed in self._feeds), PATIENCE)
        return int(seq)

    async def applied(self) -> dict[str, list[float]]:
        """Return when each sidecar applied the change of each kid, and forget it."""
        found = dict(self._applied)
        self._applied.clear()
        return found

    async def seconds(self) -> float:
        """Return the processor time of this process."""
        return time.process_time()

    async def watch(self) -> int:
        """Note from now on when links are made, and when each sidecar trusts the store again."""
        self._connections.at = []
        for cache in self._caches:
            cache.watch()
        return len(self._caches)

    async def connected(self) -> dict[str, list[float]]:
        """Wait until all trust the store again. Return when links were made, and when they did."""
        await self.ready()
        return {
            "made": self._connections.at,
            "trusted": [cache.trusted_at for cache in self._caches],
        }

    async def open(self) -> int:
        """Open the link for limits of each sidecar."""
        self._spending = [
            SpendLink(self._endpoint, self._clock, instance=f"{os.getpid()}-{at}", deadline=5)
            for at in range(len(self._caches))
        ]
        for link in self._spending:
            self._run(link.run())
        await eventually(lambda: all(link.is_open for link in self._spending), PATIENCE)
        return len(self._spending)

    async def spend(self, seconds: str) -> list[float]:
        """Ask for a lease of units of one key's limit once a second, each sidecar. Return waits."""
        end, waits = time.monotonic() + float(seconds), list[float]()
        await asyncio.gather(*(self._ask(link, end, waits) for link in self._spending))
        return waits

    async def _ask(self, link: SpendLink, end: float, waits: list[float]) -> None:
        loop, terms = asyncio.get_running_loop(), make_terms(LIMIT)
        await asyncio.sleep(random.random())
        while time.monotonic() < end:
            answer: asyncio.Future[Any] = loop.create_future()
            deliver: Callable[[Any], None] = answer.set_result
            began = time.monotonic()
            charge = charge_for(terms, 1, self._clock.wall_ms())
            link.spend(charge, SpendRequest(ASKED, lease=ASKED), deliver)
            reply = await answer
            if not isinstance(reply, SpendReply) or not reply.granted:
                raise SystemExit(f"no lease: {reply}")
            waits.append(time.monotonic() - began)
            await asyncio.sleep(1)


async def main(url: str, count: int) -> None:
    """Obey until stdin ends."""
    logging.disable()
    loop, sidecars = asyncio.get_running_loop(), Sidecars(url, count)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, *arguments = line.split()
        print(json.dumps(await getattr(sidecars, command)(*arguments)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
