"""The data path of one sidecar, and administration, on a real store."""

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

from authz.core.errors import Unavailable
from authz.core.keys.credentials import Alias
from authz.core.keys.keyring import Keyring
from authz.core.new_keys import KeySpec
from authz.core.ports import Clock, LoadedAlias
from authz.core.records import KeyRecord, RevocationReason
from authz.core.store_clock import StoreClock
from authz.flows.lifecycle import Lifecycle
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.imports import LinkedAliases
from authz.storage.keys import StoredKeys
from authz.storage.linked_keys import LinkedKeys
from authz.storage.registration import Identity, Registration
from tests.support.caches import make_cache
from tests.support.fakes import RecordingProbe, make_keyring
from tests.support.real import RealClock, eventually

LEASE = 0.4  # seconds
SO_ATTACH_FILTER = 26  # linux/asm-generic/socket.h
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # classic BPF: return 0, keep no byte


class Sidecar:
    """A feed, a cache and lookups. `async with Sidecar(endpoint) as sidecar:` runs the feed."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        lease: float = LEASE,
        keyring: Keyring | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.probe = RecordingProbe()
        self.clock = clock or RealClock()
        self.store_clock = StoreClock(lease)
        self.feed = ChangeFeed(
            endpoint,
            self.clock,
            self.probe,
            lease=lease,
            fingerprints=(keyring or make_keyring()).fingerprints,
            store_clock=self.store_clock,
        )
        self.source = LinkedKeys(self.feed, self.probe, endpoint.seals and endpoint.seals())
        self.cache = make_cache(
            self.source, self.clock, self.probe, max_entries=100_000, deadline=2
        )
        self.aliases = LinkedAliases(self.feed)

    async def __aenter__(self) -> Self:
        self.run = asyncio.create_task(self.feed.run(self.cache))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.run

    async def find(self, kid: str) -> KeyRecord | None:
        """Return the result of a lookup while trusted. Raises what the lookup raises.

        A pause of the machine may end trust, so `cache.find` alone may fail.
        """
        while True:
            await self.trusted()
            try:
                return await self.cache.find(kid)
            except Unavailable:
                if self.is_trusted:
                    raise

    async def holds(self, record: KeyRecord) -> None:
        """Wait until the cache holds this record."""
        await eventually(lambda: self.cache.peek(record.kid) == record)

    async def alias(self, digests: list[bytes]) -> Alias | None:
        """Look up an alias. Raises the fault that is delivered."""
        delivered: list[LoadedAlias] = []
        self.aliases.resolve(digests, delivered.append)
        await eventually(lambda: delivered)
        [found] = delivered
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def is_trusted(self) -> bool:
        """Whether it may serve its cache."""
        return self.feed.health().trusted

    @property
    def reason(self) -> str:
        """Why it may not serve its cache."""
        return self.feed.health().reason

    async def trusted(self) -> None:
        """Wait until it is trusted."""
        await eventually(lambda: self.is_trusted)

    async def untrusted(self) -> None:
        """Wait until it is not trusted."""
        await eventually(lambda: not self.is_trusted)

    async def caught_up(self, seq: int) -> None:
        """Wait until it has applied change `seq`."""
        await eventually(lambda: self.feed.health().seq == seq)

    async def last_served(self, kid: str) -> float:
        """Return the last time at which the record was served, after that has ended."""
        served = 0.0
        while True:
            now = self.clock.monotonic()
            if self.cache.peek(kid) is None:
                return served
            served = now
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Make the link half-open: all that the store sends is lost without a sign."""
        transport = self.feed.link._transport
        code = ctypes.create_string_buffer(DROP_ALL)
        program = struct.pack("@HP", 1, ctypes.addressof(code))
        copy = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        with copy:
            copy.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


class Registered(Sidecar):
    """A sidecar that writes its registry entry."""

    def __init__(
        self,
        endpoint,
        instance="web-1",
        *,
        grace_ms=0,
        predecessor="",
        lease=LEASE,
        charges="",
        **settings,
    ):
        super().__init__(endpoint, lease=lease, **settings)
        identity = Identity(
            instance=instance,
            version="0.1.0",
            address="127.0.0.1:9191",
            started_at=1,
            lease_ms=round(lease * 1000),
            grace_ms=grace_ms,
            charges=charges,
        )
        self.issued = 0
        self.registration = Registration(
            self.cache,
            self.feed,
            self.clock,
            identity,
            entries=self.cache.__len__,
            predecessor=predecessor,
            issued=lambda: self.issued,
            seals=endpoint.seals and endpoint.seals().entries,
        )

    async def __aenter__(self):
        self.run = asyncio.create_task(self.feed.run(self.registration, self.registration.announce))
        return self


@dataclass
class Admin:
    """Administration of a store: `lifecycle` for changes, `store` for the level below."""

    store: StoredKeys
    lifecycle: Lifecycle

    async def issue(self, **overrides) -> KeyRecord:
        """Issue a key."""
        spec = KeySpec(**{"client_id": "acme-web", "env": "live", "life_ms": None} | overrides)
        return (await self.lifecycle.issue(spec, self.lifecycle.author("test"))).record

    async def revoke(self, kid: str) -> KeyRecord:
        """Revoke a key."""
        author = self.lifecycle.author("test")
        return (await self.lifecycle.revoke(kid, RevocationReason.UNSPECIFIED, author)).record

    async def disable(self, kid: str) -> KeyRecord:
        """Disable a key."""
        return (await self.lifecycle.disable(kid, self.lifecycle.author("test"))).record


@contextlib.asynccontextmanager
async def administration(endpoint: Endpoint, keyring=None) -> AsyncIterator[Admin]:
    """Initialise a store and yield its administration."""
    keyring = keyring or make_keyring()
    client = endpoint.client()
    try:
        store = StoredKeys(client, has_replicas=endpoint.has_replicas)
        await store.initialise(keyring.fingerprints)
        yield Admin(store, Lifecycle(store, keyring, RealClock()))
    finally:
        await client.aclose()
