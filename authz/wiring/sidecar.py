"""Composition root of the sidecar. It starts the components and stops them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authz import __version__
from authz.core.listen_address import Address
from authz.process.clock import boot_id
from authz.process.ending import Ending
from authz.process.readiness import Readiness
from authz.rpc.h2.server import FastServer
from authz.settings.model import Settings
from authz.storage.abuse import AbuseLink
from authz.storage.link import Link
from authz.storage.registration import Identity, Registration
from authz.storage.replication import longest_alone
from authz.storage.sightings import SightingSender
from authz.storage.snapshot import Snapshot
from authz.storage.snapshot_writer import SnapshotWriter, restore
from authz.wiring.administration import partitions
from authz.wiring.components import Components, build
from authz.wiring.listeners import operations
from authz.wiring.live_settings import LiveSettings
from authz.wiring.partition import Partition
from authz.wiring.telemetry import Parts

if TYPE_CHECKING:
    from authz.rpc.grpcio import GrpcServer

DRAIN_SECONDS: Final = 2.0


@dataclass(slots=True)
class Sidecar:
    """A running sidecar."""

    server: "FastServer | GrpcServer"
    operations: Address
    partitions: tuple[Partition, ...]
    registrations: tuple[Registration, ...]
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
        saved = [await restore_cache(settings, built, one, stack) for one in built.partitions]
        writers = [writer for writer, _ in saved if writer]
        registrations = tuple(
            register(settings, built, one, predecessor)
            for one, (_, predecessor) in zip(built.partitions, saved, strict=True)
        )
        readiness = readiness_of(built)
        parts = Parts(built.partitions, built.checker, readiness)
        exporting = built.telemetry.exporting(built.instance, parts)
        metrics = await stack.enter_async_context(exporting)
        await server.start()
        address = await stack.enter_async_context(
            operations(settings, readiness, counters, metrics)
        )
        running = Sidecar(server, address, built.partitions, registrations, readiness, built.live)
        async with asyncio.TaskGroup() as tasks:
            feeds = [
                one.feed.run(registration, announcement(built, one, registration))
                for one, registration in zip(built.partitions, registrations, strict=True)
            ]
            works = [
                *feeds,
                server.show(readiness),
                *(one.spend_link.run() for one in built.partitions),
                built.learned_estimates.run(),
                *(writer.run() for writer in writers),
            ]
            work = [tasks.create_task(one) for one in works]
            try:
                yield running
            finally:
                await server.stop(DRAIN_SECONDS)  # first: running Checks still need the links
                await asyncio.gather(*map(return_leases, built.partitions))
                await asyncio.gather(*(one.report_issued() for one in registrations))
                if not writers:  # with a snapshot, the next process may serve these entries
                    await asyncio.gather(*(one.leave() for one in registrations))
                for task in work:
                    task.cancel()
                await asyncio.gather(*(writer.stop() for writer in writers))


def readiness_of(built: Components) -> Readiness:
    """Return the readiness of a sidecar with these components."""
    (first, *others) = built.partitions
    if not others:
        return Readiness(first.feed, first.cache, first.spend_link, built.live)
    from authz.wiring.partitioned_health import PartitionedHealth  # noqa: PLC0415

    health = PartitionedHealth(built.partitions)
    return Readiness(health, health, health, built.live)


def announcement(
    built: Components, one: Partition, registration: Registration
) -> Callable[[Link], None]:
    """Return what the sidecar does before each heartbeat of a partition.

    Blocked addresses belong to no key, so they are in the first partition alone.
    """
    sender = SightingSender(one.sightings, one.feed.names, built.clock)
    abuse = None
    if one is built.partitions[0]:
        abuse = AbuseLink(built.failures, one.feed.names, built.clock)

    def announce(link: Link) -> None:
        registration.announce(link)
        if not one.feed.is_foreign:
            sender.send(link)
            if abuse is not None:
                abuse.send(link)

    return announce


def register(
    settings: Settings, built: Components, one: Partition, predecessor: str
) -> Registration:
    """Return the registration of this sidecar in a partition. Nothing is written yet.

    predecessor: the instance whose snapshot was restored, or "".
    """
    lease = settings.cache.trust_lease
    isolated = longest_alone(lease) if partitions(settings)[0].has_replicas else 0.0
    ids = built.charge_ids.parts[one.feed.names.partition]
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
        one.imported,
        one.feed,
        built.clock,
        identity,
        entries=one.cache.__len__,
        settings=lambda: built.live.version,
        issued=lambda: ids.issued,
        predecessor=predecessor,
        seals=built.ring.entry_seals,
    )


async def restore_cache(
    settings: Settings, built: Components, one: Partition, stack: AsyncExitStack
) -> tuple[SnapshotWriter | None, str]:
    """Lock `cache.snapshot` until `stack` ends, and load it into the cache of a partition.

    With several partitions each has a file of its own, such as `FILE.3-of-8`.
    Raises BadInput if locked. Return the writer of later snapshots, and the instance whose records
    were restored ("" if none). Without `cache.snapshot` they are None and "". A file that cannot be
    used is logged and ignored.
    """
    file = settings.cache.snapshot
    if file is None:
        return None, ""
    names = one.feed.names
    if names.partitions > 1:
        file = file.with_name(f"{file.name}.{names.partition}-of-{names.partitions}")
    clock, imported = built.clock, one.imported
    snapshot = Snapshot(file, built.ring, clock, boot_id())
    stack.enter_context(snapshot.claimed())
    counters = built.telemetry.counters
    writer = SnapshotWriter(snapshot, imported, built.instance, clock, counters)
    found = await asyncio.to_thread(restore, snapshot, settings.outage.grace)
    if not found:
        return writer, ""
    imported.restore(found.contents)
    return writer, found.instance


async def return_leases(one: Partition) -> None:
    """Return the unused leases to the store. Takes at most four deadlines and raises nothing."""
    await one.spend_link.drain()  # the last grants
    one.limiter.give_back()
    await one.spend_link.drain()
