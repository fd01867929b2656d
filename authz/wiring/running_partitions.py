"""RunningPartitions: the partitions of a sidecar with their links, registrations and snapshots."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from authz import __version__
from authz.core.errors import BadInput
from authz.process.clock import boot_id
from authz.settings.model import Settings
from authz.storage.abuse import AbuseLink
from authz.storage.link import Link
from authz.storage.registration import Identity, Registration
from authz.storage.replication import longest_alone
from authz.storage.sightings import SightingSender
from authz.storage.snapshot import Snapshot
from authz.storage.snapshot_writer import SnapshotWriter, restore
from authz.wiring.administration import partitions
from authz.wiring.live_settings import SettingsVersion
from authz.wiring.partition import Partition
from authz.wiring.partition_count import snapshot_file
from authz.wiring.partition_set import PartitionSet, SharedParts

log = logging.getLogger("authz")


@dataclass(frozen=True, slots=True)
class Described:
    """The description of this sidecar in the registry. address: of the Check listener."""

    address: str
    started_at: int
    settings: Callable[[], SettingsVersion]


@dataclass(slots=True)
class RunningPartitions:
    """A set of partitions, and its tasks.

    locks: the locks of the snapshot files. used: is set when Checks are decided by this set.
    """

    found: PartitionSet
    registrations: tuple[Registration, ...]
    writers: list[SnapshotWriter]
    locks: ExitStack
    used: asyncio.Event
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, group: asyncio.TaskGroup, shared: SharedParts) -> None:
        """Start the links to the partitions, and all that they carry."""
        pairs = list(zip(self.found.partitions, self.registrations, strict=True))
        works: list[Coroutine[Any, Any, None]] = [
            *(one.feed.run(entry, announcement(shared, one, entry)) for one, entry in pairs),
            *(one.spend_link.run() for one, _ in pairs),
            *(writer.run() for writer in self.writers),
        ]
        self.tasks += [group.create_task(work) for work in works]

    def use(self, group: asyncio.TaskGroup) -> None:
        """Note that Checks are decided by this set, and start to read the learned estimates."""
        self.used.set()
        for one in self.found.partitions:
            one.feed.look()  # its answer acknowledges the last change
        self.tasks.append(group.create_task(self.found.learned_estimates.run()))

    async def leave(self, *, keeps_entries: bool = False) -> None:
        """Return limit leases, report charge ids, remove the registry entries and end the tasks.

        keeps_entries: the next process may serve the cached records.
        """
        await asyncio.gather(*map(return_leases, self.found.partitions))
        if self.used.is_set():  # else none was given out
            await asyncio.gather(*(one.report_issued() for one in self.registrations))
        if not keeps_entries:
            await asyncio.gather(*(one.leave() for one in self.registrations))
        self.cancel()

    def cancel(self) -> None:
        """End the tasks."""
        for task in self.tasks:
            task.cancel()

    async def save(self) -> None:
        """Write the snapshots once more, and unlock their files. Call it after `cancel`."""
        await asyncio.gather(*(writer.stop() for writer in self.writers))
        self.locks.close()


async def running_partitions(
    found: PartitionSet, shared: SharedParts, described: Described
) -> RunningPartitions:
    """Return the set with the content of its snapshots, not yet connected.

    Raises BadInput if another process has a snapshot file.
    """
    locks, used = ExitStack(), asyncio.Event()
    try:
        saved = [
            await restore_cache(found.settings, shared, one, locks) for one in found.partitions
        ]
    except BaseException:
        locks.close()
        raise
    registrations = tuple(
        register(found, shared, described, one, predecessor=predecessor, used=used)
        for one, (_, predecessor) in zip(found.partitions, saved, strict=True)
    )
    return RunningPartitions(found, registrations, [w for w, _ in saved if w], locks, used)


def awaiting_partitions(
    found: PartitionSet, shared: SharedParts, described: Described
) -> RunningPartitions:
    """Return a set that follows another one: its snapshot files are written, and not read."""
    locks, writers, used = ExitStack(), [], asyncio.Event()
    try:
        for one in found.partitions:
            if snapshot := snapshot_of(found.settings, shared, one):
                locks.enter_context(snapshot.claimed())
                writers.append(writer_of(snapshot, shared, one))
    except BadInput as cause:
        log.warning("there are no snapshots of the partitions: %s", cause)
        locks.close()
        locks, writers = ExitStack(), []
    entries = [
        register(found, shared, described, one, predecessor="", used=used)
        for one in found.partitions
    ]
    return RunningPartitions(found, tuple(entries), writers, locks, used)


def announcement(
    shared: SharedParts, one: Partition, registration: Registration
) -> Callable[[Link], None]:
    """Return what the sidecar does before each heartbeat of a partition.

    Blocked addresses belong to no key, so they are in the first partition alone.
    """
    sender = SightingSender(one.sightings, one.feed.names, shared.clock)
    abuse = None
    if one.feed.names.partition == 0:
        abuse = AbuseLink(shared.failures, one.feed.names, shared.clock)

    def announce(link: Link) -> None:
        registration.announce(link)
        if not (one.feed.is_foreign or one.feed.awaits_data):
            sender.send(link)
            if abuse is not None:
                abuse.send(link)

    return announce


def register(
    found: PartitionSet,
    shared: SharedParts,
    described: Described,
    one: Partition,
    *,
    predecessor: str,
    used: asyncio.Event,
) -> Registration:
    """Return the registration of this sidecar in a partition. Nothing is written yet.

    predecessor: the instance whose snapshot was restored, or "". used: is set when Checks are
    decided by this set.
    """
    settings = found.settings
    lease = settings.cache.trust_lease
    isolated = longest_alone(lease) if partitions(settings)[0].has_replicas else 0.0
    ids = found.charge_ids.parts[one.feed.names.partition]
    identity = Identity(
        instance=shared.instance,
        version=__version__,
        address=described.address,
        started_at=described.started_at,
        lease_ms=round((lease + isolated) * 1000),
        grace_ms=round(settings.outage.grace * 1000),
        charges=ids.prefix.decode(),
    )
    return Registration(
        one.imported,
        one.feed,
        shared.clock,
        identity,
        entries=one.cache.__len__,
        settings=described.settings,
        issued=lambda: ids.issued,
        predecessor=predecessor,
        seals=shared.ring.entry_seals,
        serves=used.is_set,
    )


def snapshot_of(settings: Settings, shared: SharedParts, one: Partition) -> Snapshot | None:
    """Return the snapshot of a partition; None without `cache.snapshot`."""
    file, names = settings.cache.snapshot, one.feed.names
    if file is None:
        return None
    path = snapshot_file(file, names.partition, names.partitions)
    return Snapshot(path, shared.ring, shared.clock, boot_id())


def writer_of(snapshot: Snapshot, shared: SharedParts, one: Partition) -> SnapshotWriter:
    """Return the writer of a snapshot of a partition."""
    return SnapshotWriter(snapshot, one.imported, shared.instance, shared.clock, shared.counters)


async def restore_cache(
    settings: Settings, shared: SharedParts, one: Partition, stack: ExitStack
) -> tuple[SnapshotWriter | None, str]:
    """Lock `cache.snapshot` until `stack` ends, and load it into the cache of a partition.

    Raises BadInput if locked. Return the writer of later snapshots, and the instance whose records
    were restored ("" if none). Without `cache.snapshot` they are None and "". A file that cannot be
    used is logged and ignored.
    """
    snapshot = snapshot_of(settings, shared, one)
    if snapshot is None:
        return None, ""
    stack.enter_context(snapshot.claimed())
    writer = writer_of(snapshot, shared, one)
    found = await asyncio.to_thread(restore, snapshot, settings.outage.grace)
    if not found:
        return writer, ""
    one.imported.restore(found.contents)
    return writer, found.instance


async def return_leases(one: Partition) -> None:
    """Return the unused leases to the store. Takes at most four deadlines and raises nothing."""
    await one.spend_link.drain()  # the last grants
    one.limiter.give_back()
    await one.spend_link.drain()
