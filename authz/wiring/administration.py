"""Composition root of administration: what the commands work with, made from the settings.

The sidecar is put together in sidecar.py, so that no command pays for its listeners.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace

from authz.core.errors import BadInput
from authz.core.finding import Finding
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.limits.key_limits import LimitPolicy
from authz.core.ports import ImportStore
from authz.core.request import Request
from authz.flows.importing import Importer
from authz.flows.key_listing import KeyListing
from authz.flows.lifecycle import Lifecycle
from authz.flows.limits.limit_report import LimitReports
from authz.flows.verify import Verifier
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.endpoint import Endpoint
from authz.storage.imports import StoredImports
from authz.storage.inspection import Store, inspect
from authz.storage.keys import StoredKeys
from authz.storage.limits.stored_counters import StoredCounters
from authz.storage.listing import StoredIndex, StoredTrail
from authz.storage.meta import KnownPeppers
from authz.storage.registry import StoredSidecars
from authz.storage.sentinel import Sentinel
from authz.storage.tls import TlsFiles as StoreTls


def keyring(settings: Settings) -> Keyring:
    """The prefix and the peppers. Raises BadInput when a pepper file cannot be read."""
    peppers = []
    for entry in settings.keys.peppers:
        try:
            secret = entry.file.read_bytes().strip()
        except OSError as cause:
            hint = "; `authz init` makes it" if isinstance(cause, FileNotFoundError) else ""
            raise BadInput("keys.peppers", f"{entry.file}: {cause.strerror}{hint}") from None
        peppers.append(Pepper.expand(entry.version, secret))
    return Keyring(settings.keys.prefix, peppers)


def endpoint(settings: Settings) -> Endpoint:
    """Where the store is. Raises BadInput."""
    store, tls, sentinel = settings.redis, settings.redis.tls, settings.redis.sentinel
    return Endpoint.parse(
        store.url,
        store.username,
        store.password_file,
        tls=StoreTls(tls.ca, tls.cert, tls.key) if tls else None,
        sentinel=Sentinel(sentinel.hosts, sentinel.service) if sentinel else None,
    )


def limit_policy(settings: Settings) -> LimitPolicy:
    """What the settings say about limits."""
    pools = settings.pools
    return LimitPolicy(settings.plans, pools.projects, pools.tenants, settings.limits.on_outage)


@asynccontextmanager
async def store(settings: Settings) -> AsyncIterator[StoredKeys]:
    """The store for administration, as it is: not yet known to be ours."""
    where = endpoint(settings)
    client = where.client()
    try:
        yield StoredKeys(client, has_replicas=where.has_replicas)
    finally:
        await client.aclose()


@asynccontextmanager
async def sidecar_registry(settings: Settings) -> AsyncIterator[StoredSidecars]:
    """Who the sidecars are."""
    client = endpoint(settings).client()
    try:
        yield StoredSidecars(client)
    finally:
        await client.aclose()


@asynccontextmanager
async def waiting(settings: Settings) -> AsyncIterator[tuple[StoredSidecars, StoredTrail]]:
    """What it takes to wait until they have a change, over one connection."""
    async with aclosing(endpoint(settings).client()) as client:
        yield StoredSidecars(client), StoredTrail(client)


@asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[Lifecycle]:
    """What the commands that look at a key or change it work with.

    Raises BadInput for unusable settings, Unavailable when the store is not there or not ours.
    """
    ring, where = keyring(settings), endpoint(settings)
    async with aclosing(where.client()) as client:
        keys = StoredKeys(client, has_replicas=where.has_replicas)
        await keys.verify(ring.fingerprints)
        yield Lifecycle(keys, ring, SystemClock(), StoredCounters(client))


@asynccontextmanager
async def importing(settings: Settings, actor: str, note: str) -> AsyncIterator[Importer]:
    """What imports keys. Raises what `administration` does."""
    ring = keyring(settings)
    client = endpoint(settings).client()
    try:
        await StoredKeys(client).verify(ring.fingerprints)
        yield Importer(StoredImports(client), SystemClock(), actor, note)
    finally:
        await client.aclose()


@dataclass(frozen=True, slots=True)
class AdminSession:
    """What the commands that look through keys work with.

    read: a CheckRequest, as a Check. imports: None when the store says that there are none.
    """

    lifecycle: Lifecycle
    listing: KeyListing
    verifier: Verifier
    read: Callable[[bytes], Request]
    limit_reports: LimitReports
    imports: ImportStore | None


@asynccontextmanager
async def admin_session(settings: Settings) -> AsyncIterator[AdminSession]:
    """All of administration. Raises as `administration` does."""
    from authz.wiring.extraction import extractor  # noqa: PLC0415  protobuf, which most commands do without

    clock, ring = SystemClock(), keyring(settings)
    async with aclosing(endpoint(settings).client()) as client:
        keys = StoredKeys(client)
        await keys.verify(ring.fingerprints)
        peppers = KnownPeppers(await keys.peppers(), ring.fingerprints)
        imports = StoredImports(client) if await keys.has_imports() else None
        counters = StoredCounters(client)
        reports = LimitReports(counters, limit_policy(settings), clock)
        yield AdminSession(
            Lifecycle(keys, ring, clock, counters),
            KeyListing(StoredIndex(client), StoredTrail(client)),
            Verifier(keys, peppers, clock, reports, imports),
            extractor(settings, ring).read,
            reports,
            imports,
        )


@asynccontextmanager
async def inspection(settings: Settings) -> AsyncIterator[AsyncIterator[Finding]]:
    """What there is to say about the store. Raises BadInput, Unavailable."""
    ring, where, clock = keyring(settings), endpoint(settings), SystemClock()
    deadline, has_replicas = settings.check.deadline, where.has_replicas
    async with AsyncExitStack() as stack:
        client, anonymous = await stack.enter_async_context(aclosing(where.client())), None
        if where.login():
            nobody = replace(where, username="", password_file=None)
            anonymous = await stack.enter_async_context(aclosing(nobody.client()))
        about = (ring.fingerprints, deadline, clock.wall_ms, has_replicas, anonymous)
        yield inspect(Store(client, *about))
