"""Composition root of the sidecar: the only place that names the concrete classes it is made of."""

import asyncio
import logging
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import uvloop

from authz import __version__
from authz.console.operations import MetricsPage, OperationsServer
from authz.core.keys.keyring import Keyring
from authz.core.listen_address import Address
from authz.core.ports import CheckObserver, Clock, Probe
from authz.core.store_clock import StoreClock
from authz.flows.check import Checker
from authz.flows.import_index import ImportIndex
from authz.flows.imported import ImportedKeys
from authz.flows.keycache import KeyCache
from authz.flows.limits.limiter import Limiter
from authz.process.clock import SystemClock, boot_id
from authz.process.ending import Ending
from authz.process.gc_tuning import tune_gc
from authz.process.hardening import disable_core_dumps, raise_file_limit
from authz.process.listener import ConnectionLimits, TlsFiles
from authz.process.readiness import Readiness
from authz.process.recycling import outgrown
from authz.rpc.check.handler import CheckHandler
from authz.rpc.grpcio import GrpcServer
from authz.rpc.h2.server import FastServer
from authz.settings.model import Settings
from authz.storage.feed import ChangeFeed
from authz.storage.imports import LinkedAliases
from authz.storage.keys import LinkedKeys
from authz.storage.limits.spend_link import SpendLink
from authz.storage.registry import Identity, Registration
from authz.storage.replication import longest_alone
from authz.storage.snapshot import Snapshot
from authz.storage.snapshot_writer import SnapshotWriter, restore
from authz.telemetry import log_to_stderr
from authz.telemetry.counters import Counters, TimedKeys
from authz.wiring.administration import endpoint, keyring, limit_policy
from authz.wiring.extraction import extractor, responder
from authz.wiring.telemetry import Parts, Telemetry

log = logging.getLogger("authz")

DRAIN_SECONDS = 2.0
# A thread that renders or exports metrics gives the event loop its turn after this time.
SWITCH_SECONDS = 0.0005
PROBE_LIMITS = ConnectionLimits(
    streams=8, message_bytes=4096, idle_seconds=10.0
)  # a probe asks and goes


@dataclass(slots=True)
class Sidecar:
    """A running sidecar."""

    server: FastServer | GrpcServer
    operations: Address
    counters: Counters
    feed: ChangeFeed
    cache: KeyCache
    registration: Registration
    readiness: Readiness

    async def drain(self, ending: Ending) -> None:
        """Take no new Checks, let those that run end, and none of that when told again."""
        stopping = asyncio.create_task(self.server.stop(DRAIN_SECONDS))
        repeated = asyncio.create_task(ending.repeated())
        await asyncio.wait([stopping, repeated], return_when=asyncio.FIRST_COMPLETED)
        if repeated.done():
            await self.server.stop(0)
        repeated.cancel()
        await stopping


def check_door(
    settings: Settings, ring: Keyring, checker: Checker, probe: Probe, observer: CheckObserver
) -> CheckHandler:
    """Put together what reads, decides and answers a CheckRequest."""
    reading = extractor(settings, ring)
    return CheckHandler(reading, checker, responder(settings, reading), probe, observer)


def check_server(settings: Settings, door: CheckHandler, probe: Probe) -> FastServer | GrpcServer:
    """The listener that the proxy asks, with the chosen transport. Raises BadInput."""
    check, tls = settings.check, settings.check.tls
    serve = GrpcServer if check.transport == "grpcio" else partial(FastServer, probe=probe)
    return serve(
        door,
        check.listen,
        limits=ConnectionLimits(
            streams=check.max_streams,
            header_bytes=check.max_header_bytes,
            message_bytes=check.max_message_bytes,
            idle_seconds=check.idle_timeout,
            flood_tolerance=check.flood_tolerance,
        ),
        tls=TlsFiles(tls.cert, tls.key, tls.client_ca) if tls else None,
        allow_plaintext=check.allow_plaintext,
        socket_mode=check.socket_mode,
        traced=settings.telemetry.tracing.enabled,
    )


@asynccontextmanager
async def probed(
    settings: Settings, ready: Readiness, probe: Probe, metrics: MetricsPage | None
) -> AsyncIterator[Address]:
    """Say how this process is: over HTTP, whose address it gives, and over gRPC where that is set.

    A kubelet asks the address of the pod, which is not where Check listens: so grpc.health.v1 can
    have a listener of its own, in the clear, for it takes no keys. Raises BadInput.
    """
    operations = OperationsServer(settings.ops.listen, __version__, settings.ops.socket_mode)
    where = settings.ops.health_listen
    async with AsyncExitStack() as stack:
        stack.push_async_callback(operations.stop)
        if where is not None:
            health = FastServer(
                None,
                where,
                probe=probe,
                limits=PROBE_LIMITS,
                allow_plaintext=True,
                socket_mode=settings.ops.socket_mode,
                setting="ops.health_listen",
            )
            stack.push_async_callback(health.stop, 0)
            await health.start()
            stack.callback(asyncio.create_task(health.show(ready)).cancel)
        operations.report(ready.report)
        operations.publish(metrics)
        await operations.start()
        yield operations.address


def identity(settings: Settings, instance: str, address: str, clock: SystemClock) -> Identity:
    """What this sidecar says of itself in the store."""
    lease = settings.cache.trust_lease
    isolated = longest_alone(lease) if endpoint(settings).has_replicas else 0.0
    return Identity(
        instance=instance,
        version=__version__,
        address=address,
        started_at=clock.wall_ms(),
        lease_ms=round((lease + isolated) * 1000),
        grace_ms=round(settings.outage.grace * 1000),
    )


async def restored(snapshot: Snapshot, grace: float, keys: ImportedKeys) -> str:
    """Hold what an earlier process held; its name, or empty when there is nothing."""
    kept = await asyncio.to_thread(restore, snapshot, grace)
    if not kept:
        return ""
    keys.restore(kept.holdings)
    return kept.instance


def spender(
    settings: Settings, instance: str, clock: Clock, probe: Probe
) -> tuple[SpendLink, Limiter]:
    """What takes from limits, and its own link to the store."""
    deadline = settings.check.deadline
    link = SpendLink(endpoint(settings), clock, instance=instance, deadline=deadline)
    most = settings.cache.max_entries
    return link, Limiter(link, limit_policy(settings), clock, probe, max_keys=most)


async def give_back(spending: SpendLink, limiter: Limiter) -> None:
    """What was taken of limits in advance, and is not needed any more."""
    await spending.drain()  # the last grants
    limiter.give_back()
    await spending.drain()


@asynccontextmanager
async def sidecar(settings: Settings) -> AsyncIterator[Sidecar]:
    """Start a sidecar, whether the store is there or not, and stop it on the way out.

    Raises BadInput for settings that cannot be used, such as a port that is taken.
    """
    clock, ring, store_clock = SystemClock(), keyring(settings), StoreClock()
    telemetry = Telemetry(settings, clock)
    counters, remember = telemetry.counters, settings.cache
    feed = ChangeFeed(
        endpoint(settings),
        clock,
        counters,
        lease=remember.trust_lease,
        fingerprints=ring.fingerprints,
    )
    cache = KeyCache(
        TimedKeys(LinkedKeys(feed, counters), clock, counters),
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
        index=ImportIndex(settings.keys.import_index),
    )
    instance = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    spending, limiter = spender(settings, instance, clock, counters)
    checker = Checker(
        cache, feed.meta, clock, counters, imported, limiter=limiter, store_clock=store_clock
    )
    server = check_server(
        settings, check_door(settings, ring, checker, counters, telemetry.observer), counters
    )
    snapshot = remember.snapshot and Snapshot(remember.snapshot, ring, clock, boot_id())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, DRAIN_SECONDS)
        stack.enter_context(snapshot.claimed() if snapshot else nullcontext())
        said = identity(settings, instance, str(server.address), clock)
        keeper = snapshot and SnapshotWriter(snapshot, imported, said.instance, clock, counters)
        predecessor = await restored(snapshot, settings.outage.grace, imported) if snapshot else ""
        registration = Registration(
            imported, feed, clock, said, entries=cache.__len__, predecessor=predecessor
        )
        readiness = Readiness(feed, cache, spending)
        parts = Parts(cache, checker, feed, spending, readiness)
        metrics = await stack.enter_async_context(telemetry.exporting(said.instance, parts))
        await server.start()
        operations = await stack.enter_async_context(probed(settings, readiness, counters, metrics))
        running = Sidecar(server, operations, counters, feed, cache, registration, readiness)
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(feed.run(registration, registration.announce)),
                tasks.create_task(server.show(readiness)),
                tasks.create_task(spending.run()),
            ]
            if keeper:
                work.append(tasks.create_task(keeper.run()))
            try:
                yield running
            finally:
                await server.stop(DRAIN_SECONDS)  # first, so that it is fed while it answers
                await give_back(spending, limiter)
                if not keeper:  # what a snapshot holds may be served by the next process
                    await registration.leave()
                for task in work:
                    task.cancel()
                if keeper:
                    await keeper.stop()


def serve(settings: Settings) -> None:
    """Run a sidecar until it is told to end. Raises BadInput when it cannot start."""
    log_to_stderr(settings.log.level)
    disable_core_dumps()
    raise_file_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    ending, pause = Ending(), settings.shutdown.delay
    ending.listen()
    async with sidecar(settings) as running:
        tune_gc()
        log.info(
            "serving Check on %s, operations on %s, store %s",
            running.server.address,
            running.operations,
            endpoint(settings),
        )
        if not settings.check.enforce:
            log.warning("check.enforce is false: a request that would be refused goes on")
        watching = asyncio.create_task(_watch(settings.check.recycle_at_mib, ending))
        running.readiness.leaving = f"stopping: {await ending.requested()}"
        watching.cancel()
        log.info("%s", running.readiness.leaving)
        await ending.pause(pause)
        await running.drain(ending)


async def _watch(recycle_at_mib: int, ending: Ending) -> None:
    """End this process when it has grown too much."""
    if recycle_at_mib:
        found = await outgrown(recycle_at_mib)
        ending.request(f"{found} MiB are more than check.recycle_at_mib")
