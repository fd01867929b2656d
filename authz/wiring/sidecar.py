"""Composition root of the sidecar. It starts the components and stops them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authz import __version__
from authz.core.listen_address import Address
from authz.flows.keycache import KeyCache
from authz.flows.limits.limiter import Limiter
from authz.process.clock import boot_id
from authz.process.ending import Ending
from authz.process.readiness import Readiness
from authz.rpc.h2.server import FastServer
from authz.settings.model import Settings
from authz.storage.abuse import AbuseLink
from authz.storage.feed import ChangeFeed
from authz.storage.limits.spend_link import SpendLink
from authz.storage.link import Link
from authz.storage.registration import Identity, Registration
from authz.storage.replication import longest_alone
from authz.storage.sightings import SightingSender
from authz.storage.snapshot import Snapshot
from authz.storage.snapshot_writer import SnapshotWriter, restore
from authz.wiring.administration import endpoint
from authz.wiring.components import Components, build
from authz.wiring.listeners import operations
from authz.wiring.live_settings import LiveSettings
from authz.wiring.telemetry import Parts

if TYPE_CHECKING:
    from authz.rpc.grpcio import GrpcServer

DRAIN_SECONDS: Final = 2.0


@dataclass(slots=True)
class Sidecar:
    """A running sidecar."""

    server: "FastServer | GrpcServer"
    operations: Address
    feed: ChangeFeed
    cache: KeyCache
    registration: Registration
    readiness: Readiness
    settings: LiveSettings

    async def drain(self, ending: Ending) -> None:
        """Accept no new Checks and wait for the running ones, at most DRAIN_SECONDS (2 s).

        A second request to end cuts the wait short.
        """
        await ending.drain(self.server.stop, DRAIN_SECONDS)


@asynccontextmanager
async def sidecar(
    settings: Settings, read_settings: Callable[[], Settings] | None = None
) -> AsyncIterator[Sidecar]:
    """Run a sidecar until the block ends. It starts with or without the store.

    At the end it drains Checks and returns limit leases. Without `cache.snapshot` it then removes
    its registry entry. With it, it keeps the entry and writes the snapshot, because the next
    process may serve these records. read_settings: reads the settings again for a reload; None: no
    reload. Raises BadInput for unusable settings.
    """
    built = build(settings, read_settings)
    server, counters = built.server, built.telemetry.counters
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, DRAIN_SECONDS)
        writer, predecessor = await restore_cache(settings, built, stack)
        registration = register(settings, built, predecessor)
        readiness = Readiness(built.feed, built.cache, built.spend_link, built.live)
        parts = Parts(built.cache, built.checker, built.feed, built.spend_link, readiness)
        exporting = built.telemetry.exporting(built.instance, parts)
        metrics = await stack.enter_async_context(exporting)
        await server.start()
        address = await stack.enter_async_context(
            operations(settings, readiness, counters, metrics)
        )
        running = Sidecar(
            *(server, address, built.feed, built.cache),
            *(registration, readiness, built.live),
        )
        sender = SightingSender(built.sightings, built.feed.names, built.clock)
        abuse = AbuseLink(built.failures, built.feed.names, built.clock)

        def announce(link: Link) -> None:
            registration.announce(link)
            if not built.feed.is_foreign:
                sender.send(link)
                abuse.send(link)

        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(built.feed.run(registration, announce)),
                tasks.create_task(server.show(readiness)),
                tasks.create_task(built.spend_link.run()),
                tasks.create_task(built.learned_estimates.run()),
            ]
            if writer:
                work.append(tasks.create_task(writer.run()))
            try:
                yield running
            finally:
                await server.stop(DRAIN_SECONDS)  # first: running Checks still need the links
                await return_leases(built.spend_link, built.limiter)
                await registration.report_issued()
                if not writer:  # with a snapshot, the next process may serve these entries
                    await registration.leave()
                for task in work:
                    task.cancel()
                if writer:
                    await writer.stop()


def register(settings: Settings, built: Components, predecessor: str) -> Registration:
    """Return the registration of this sidecar in the store. Nothing is written yet.

    predecessor: the instance whose snapshot was restored, or "".
    """
    lease = settings.cache.trust_lease
    isolated = longest_alone(lease) if endpoint(settings).has_replicas else 0.0
    (ids,) = built.charge_ids.parts
    identity = Identity(
        instance=built.instance,
        version=__version__,
        address=str(built.server.address),
        started_at=built.clock.wall_ms(),
        lease_ms=round((lease + isolated) * 1000),
        grace_ms=round(settings.outage.grace * 1000),
        charges=ids.prefix.decode(),
    )
    return Registration(
        built.imported,
        built.feed,
        built.clock,
        identity,
        entries=built.cache.__len__,
        settings=lambda: built.live.version,
        issued=lambda: ids.issued,
        predecessor=predecessor,
        seals=built.ring.entry_seals,
    )


async def restore_cache(
    settings: Settings, built: Components, stack: AsyncExitStack
) -> tuple[SnapshotWriter | None, str]:
    """Lock `cache.snapshot` until `stack` ends, and load it into the cache.

    Raises BadInput if locked. Return the writer of later snapshots, and the instance whose records
    were restored ("" if none). Without `cache.snapshot` they are None and "". A file that cannot be
    used is logged and ignored.
    """
    file = settings.cache.snapshot
    if file is None:
        return None, ""
    clock, imported = built.clock, built.imported
    snapshot = Snapshot(file, built.ring, clock, boot_id())
    stack.enter_context(snapshot.claimed())
    counters = built.telemetry.counters
    writer = SnapshotWriter(snapshot, imported, built.instance, clock, counters)
    found = await asyncio.to_thread(restore, snapshot, settings.outage.grace)
    if not found:
        return writer, ""
    imported.restore(found.contents)
    return writer, found.instance


async def return_leases(spend_link: SpendLink, limiter: Limiter) -> None:
    """Return the unused leases to the store. Takes at most four deadlines and raises nothing."""
    await spend_link.drain()  # the last grants
    limiter.give_back()
    await spend_link.drain()
