"""Composition root of the sidecar: the only place that names the concrete classes it is made of."""

import asyncio
import logging
import secrets
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial

import uvloop

from authz import __version__
from authz.app import agreements, endpoint, keyring
from authz.clock import SystemClock, boot_id
from authz.config import Settings
from authz.console.operations import OperationsServer
from authz.core.keys import Keyring
from authz.core.ports import Clock, Probe
from authz.flows.check import Checker
from authz.flows.imported import ImportedKeys
from authz.flows.keycache import KeyCache
from authz.flows.limiter import Limiter
from authz.reading import extractor
from authz.recycling import outgrown
from authz.rpc.check import CheckDoor
from authz.rpc.grpcio import GrpcServer
from authz.rpc.h2.server import FastServer
from authz.rpc.listening import Limits, TlsFiles
from authz.rpc.respond import Responder
from authz.storage.feed import ChangeFeed
from authz.storage.imports import LinkedAliases
from authz.storage.keeper import SnapshotKeeper, restore
from authz.storage.keys import LinkedKeys
from authz.storage.registry import Identity, Registration
from authz.storage.snapshot import Snapshot
from authz.storage.spending import SpendLink
from authz.telemetry import Counters, log_to_stderr

log = logging.getLogger("authz")

DRAIN_SECONDS = 2.0
MAX_REPLICA_LAG = 2.0  # how long an isolated primary goes on, with min-replicas-max-lag 1


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


def check_door(settings: Settings, ring: Keyring, checker: Checker, probe: Probe) -> CheckDoor:
    """Bytes to bytes: how a CheckRequest is read, decided and answered."""
    carriers, query = settings.extract.headers, settings.extract.query
    responder = Responder(
        header_prefix=settings.identity.header_prefix,
        removed_headers=[c.removesuffix(":") for c in carriers if c.endswith(":")],
        query=query,
        legacy_headers=settings.limits.legacy_headers,
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


def spender(settings: Settings, clock: Clock, probe: Probe) -> tuple[SpendLink, Limiter]:
    """What takes from limits, and its own link to the store."""
    link = SpendLink(endpoint(settings), clock, deadline=settings.check.deadline)
    most = settings.cache.max_entries
    return link, Limiter(link, agreements(settings), clock, probe, max_keys=most)


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
    spending, limiter = spender(settings, clock, counters)
    checker = Checker(cache, feed, clock, counters, imported, limiter=limiter)
    server = check_server(settings, check_door(settings, ring, checker, counters), counters)
    snapshot = remember.snapshot and Snapshot(remember.snapshot, ring, clock, boot_id())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, DRAIN_SECONDS)
        operations = OperationsServer(settings.ops.listen, __version__)
        stack.push_async_callback(operations.stop)
        said = identity(settings, str(server.address), clock)
        predecessor, keeper = "", None
        if snapshot:
            keeper = SnapshotKeeper(snapshot, imported, said.instance, clock)
            if kept := await asyncio.to_thread(restore, snapshot, settings.outage.grace):
                imported.restore(kept.holdings)
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
                tasks.create_task(spending.run()),
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
