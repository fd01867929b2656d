"""Composition root: the only place that names concrete classes and sees the settings."""

import asyncio
import logging
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial

import uvloop

from authz import __version__
from authz.clock import SystemClock, boot_id
from authz.config import Settings
from authz.console.operations import OperationsServer
from authz.core.errors import BadInput
from authz.core.keys import Keyring, Pepper
from authz.core.ports import Probe
from authz.core.request import Request
from authz.core.routes import Facts, RouteTable, Rule
from authz.flows.check import Checker
from authz.flows.directory import Directory
from authz.flows.imported import ImportedKeys
from authz.flows.importing import Importer
from authz.flows.keycache import KeyCache
from authz.flows.lifecycle import Lifecycle
from authz.flows.verify import Verifier
from authz.recycling import outgrown
from authz.rpc.check import CheckDoor
from authz.rpc.extract import Extractor
from authz.rpc.grpcio import GrpcServer
from authz.rpc.h2.server import FastServer
from authz.rpc.listening import Limits, TlsFiles
from authz.rpc.respond import Responder
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.imports import LinkedAliases, StoredImports
from authz.storage.inspection import Finding, Store, inspect
from authz.storage.keeper import SnapshotKeeper, restore
from authz.storage.keys import LinkedKeys, StoredKeys
from authz.storage.listing import StoredIndex, StoredTrail
from authz.storage.meta import KnownPeppers
from authz.storage.registry import Identity, Registration, Sidecars
from authz.storage.sentinel import Sentinel
from authz.storage.snapshot import Snapshot
from authz.storage.tls import TlsFiles as StoreTls
from authz.telemetry import Counters, log_to_stderr

log = logging.getLogger("authz")

DRAIN_SECONDS = 2.0
MAX_REPLICA_LAG = 2.0  # how long an isolated primary goes on, with min-replicas-max-lag 1


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
async def directory(settings: Settings) -> AsyncIterator[Sidecars]:
    """Who the sidecars are."""
    client = endpoint(settings).client()
    try:
        yield Sidecars(client)
    finally:
        await client.aclose()


@asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[Lifecycle]:
    """What the commands that look at a key or change it work with.

    Raises BadInput for unusable settings, Unavailable when the store is not there or not ours.
    """
    ring = keyring(settings)
    async with store(settings) as keys:
        await keys.verify(ring.fingerprints)
        yield Lifecycle(keys, ring, SystemClock())


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
class Desk:
    """What the commands that look through keys work with. `read`: a CheckRequest, as a Check."""

    lifecycle: Lifecycle
    directory: Directory
    verifier: Verifier
    read: Callable[[bytes], Request]


@asynccontextmanager
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    """All of administration. Raises as `administration` does."""
    clock, ring = SystemClock(), keyring(settings)
    async with aclosing(endpoint(settings).client()) as client:
        keys = StoredKeys(client)
        await keys.verify(ring.fingerprints)
        peppers = KnownPeppers(await keys.peppers(), ring.fingerprints)
        imports = StoredImports(client) if await keys.has_imports() else None
        yield Desk(
            Lifecycle(keys, ring, clock),
            Directory(StoredIndex(client), StoredTrail(client)),
            Verifier(keys, peppers, clock, imports),
            extractor(settings, ring).read,
        )


@asynccontextmanager
async def inspection(settings: Settings) -> AsyncIterator[AsyncIterator[Finding]]:
    """What there is to say about the store. Raises BadInput, Unavailable."""
    fingerprints, deadline = keyring(settings).fingerprints, settings.check.deadline
    async with aclosing(endpoint(settings).client()) as client:
        yield inspect(Store(client, fingerprints, deadline, SystemClock().wall_ms))


@dataclass(slots=True)
class Sidecar:
    """A running sidecar."""

    server: FastServer | GrpcServer
    operations: OperationsServer
    counters: Counters
    feed: ChangeFeed
    cache: KeyCache
    registration: Registration

    def is_ready(self) -> bool:
        """Should it be asked? In an outage too, while there is something to go on with.

        Else the outage of the store would take every backend behind it out of service.
        """
        return self.feed.health().trusted or self.cache.grace_left > 0

    def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether it should be asked, and its components with the reasons."""
        store, grace = self.feed.health(), self.cache.grace_left
        cache = {"entries": len(self.cache), "outage_grace_left": round(grace, 3)}
        return self.is_ready(), {"store": asdict(store), "cache": cache}


def route_table(settings: Settings) -> RouteTable | None:
    """The rules of `routes`, or None when there is nothing to look up."""
    deny_unmatched = settings.routes_default == "deny"
    if not settings.routes and not deny_unmatched:
        return None
    rules = []
    for given in settings.routes:
        scopes = None if given.scopes is None else frozenset(given.scopes.split())
        optional = None if given.auth is None else given.auth == "optional"
        facts = Facts(scopes, optional, given.env)
        rules.append(Rule.parse("routes", given.path, given.host, given.methods, facts))
    return RouteTable(rules, deny_unmatched=deny_unmatched)


def extractor(settings: Settings, ring: Keyring) -> Extractor:
    """How a CheckRequest is read."""
    source = settings.extract.client_address
    return Extractor(
        ring,
        carriers=settings.extract.headers,
        query=settings.extract.query,
        address_header="" if source == "peer" else source,
        env=settings.check.env,
        rules=route_table(settings),
    )


def check_door(settings: Settings, ring: Keyring, checker: Checker, probe: Probe) -> CheckDoor:
    """Bytes to bytes: how a CheckRequest is read, decided and answered."""
    carriers, query = settings.extract.headers, settings.extract.query
    responder = Responder(
        header_prefix=settings.identity.header_prefix,
        removed_headers=[c.removesuffix(":") for c in carriers if c.endswith(":")],
        query=query,
    )
    return CheckDoor(extractor(settings, ring), checker, responder, probe)


def check_server(settings: Settings, door: CheckDoor, probe: Probe) -> FastServer | GrpcServer:
    """The listener that the proxy asks, with the chosen transport. Raises BadInput."""
    check, tls = settings.check, settings.check.tls
    serve = GrpcServer if check.transport == "grpcio" else partial(FastServer, probe=probe)
    return serve(
        door,
        check.listen,
        limits=Limits(
            streams=check.max_streams,
            header_bytes=check.max_header_bytes,
            message_bytes=check.max_message_bytes,
            idle_seconds=check.idle_timeout,
        ),
        tls=TlsFiles(tls.cert, tls.key, tls.client_ca) if tls else None,
        allow_plaintext=check.allow_plaintext,
        socket_mode=check.socket_mode,
    )


def identity(settings: Settings, address: str, clock: SystemClock) -> Identity:
    """What this sidecar says of itself in the store."""
    isolated = MAX_REPLICA_LAG if endpoint(settings).has_replicas else 0.0
    return Identity(
        instance=f"{socket.gethostname()}-{secrets.token_hex(3)}",
        version=__version__,
        address=address,
        started_at=clock.wall_ms(),
        lease_ms=round((settings.cache.trust_lease + isolated) * 1000),
        grace_ms=round(settings.outage.grace * 1000),
    )


@asynccontextmanager
async def sidecar(settings: Settings) -> AsyncIterator[Sidecar]:
    """Start a sidecar, whether the store is there or not, and stop it on the way out.

    Raises BadInput for settings that cannot be used, such as a port that is taken.
    """
    clock, counters, ring = SystemClock(), Counters(), keyring(settings)
    remember = settings.cache
    feed = ChangeFeed(
        endpoint(settings),
        clock,
        counters,
        lease=remember.trust_lease,
        fingerprints=ring.fingerprints,
    )
    cache = KeyCache(
        LinkedKeys(feed, counters),
        clock,
        counters,
        ttl=remember.ttl,
        negative_ttl=remember.negative_ttl,
        max_entries=remember.max_entries,
        max_negatives=remember.max_negatives,
        deadline=settings.check.deadline,
        grace=settings.outage.grace,
    )
    imported = ImportedKeys(
        LinkedAliases(feed),
        cache,
        clock,
        counters,
        rate=settings.keys.import_lookups,
        negative_ttl=remember.negative_ttl,
        max_entries=remember.max_entries,
        max_negatives=remember.max_negatives,
        deadline=settings.check.deadline,
    )
    checker = Checker(cache, feed, clock, counters, imported)
    server = check_server(settings, check_door(settings, ring, checker, counters), counters)
    snapshot = remember.snapshot and Snapshot(remember.snapshot, ring, clock, boot_id())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, DRAIN_SECONDS)
        operations = OperationsServer(settings.ops.listen, __version__)
        stack.push_async_callback(operations.stop)
        said = identity(settings, str(server.address), clock)
        predecessor, keeper = "", None
        if snapshot:
            keeper = SnapshotKeeper(snapshot, cache, said.instance, clock)
            if kept := await asyncio.to_thread(restore, snapshot, settings.outage.grace):
                cache.restore(kept.holdings)
                predecessor = kept.instance
        registration = Registration(
            imported, feed, clock, said, entries=cache.__len__, predecessor=predecessor
        )
        running = Sidecar(server, operations, counters, feed, cache, registration)
        operations.ask(running.readiness)
        await server.start()
        await operations.start()
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(feed.run(registration, registration.announce)),
                tasks.create_task(server.show(running.is_ready)),
            ]
            if keeper:
                work.append(tasks.create_task(keeper.run()))
            try:
                yield running
            finally:
                await server.stop(DRAIN_SECONDS)  # first, so that it is fed while it answers
                if not keeper:  # what a snapshot holds may be served by the next process
                    await registration.leave()
                for task in work:
                    task.cancel()
                if keeper:
                    await keeper.stop()


def serve(settings: Settings) -> None:
    """Run a sidecar until SIGTERM or SIGINT. Raises BadInput when it cannot start."""
    log_to_stderr(settings.log.level)
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with sidecar(settings) as running:
        log.info(
            "serving Check on %s, operations on %s, store %s",
            running.server.address,
            running.operations.address,
            endpoint(settings),
        )
        log.info("stopping%s", await _reason_to_stop(stop, settings.check.recycle_at_mib))


async def _reason_to_stop(told: asyncio.Event, recycle_at_mib: int) -> str:
    """Wait until told to, or until there is a reason that is worth a word."""
    reason = ""

    async def watch() -> None:
        nonlocal reason
        found = await outgrown(recycle_at_mib)
        reason = f": {found} MiB are more than check.recycle_at_mib"
        told.set()

    watching = asyncio.create_task(watch()) if recycle_at_mib else None
    await told.wait()
    if watching:
        watching.cancel()
    return reason
