"""Composition root of the sidecar. It starts the components and stops them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authz.core.listen_address import Address
from authz.process.ending import Ending
from authz.process.readiness import Readiness
from authz.rpc.h2.server import FastServer
from authz.settings.model import Settings
from authz.storage.registration import Registration
from authz.wiring.components import build
from authz.wiring.following import Following
from authz.wiring.listeners import operations
from authz.wiring.live_settings import LiveSettings
from authz.wiring.partition import Partition
from authz.wiring.partition_count import first_count
from authz.wiring.running_partitions import Described, running_partitions
from authz.wiring.telemetry import Parts

if TYPE_CHECKING:
    from authz.rpc.grpcio import GrpcServer

DRAIN_SECONDS: Final = 2.0


@dataclass(slots=True)
class Sidecar:
    """A running sidecar."""

    server: "FastServer | GrpcServer"
    operations: Address
    following: Following
    readiness: Readiness
    settings: LiveSettings

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The parts for each partition that is in use."""
        return self.following.running.found.partitions

    @property
    def registrations(self) -> tuple[Registration, ...]:
        """The registration in each of them."""
        return self.following.running.registrations

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

    If the store is moved to more partitions, it goes on with them. At the end it drains Checks and
    returns limit leases. Without `cache.snapshot` it then removes its registry entry. With it, it
    keeps the entry and writes the snapshot, because the next process may serve these records.
    read_settings: reads the settings again for a reload; None: no reload. Raises BadInput for
    unusable settings.
    """
    count, is_certain = await first_count(settings)
    built = build(settings, read_settings, count)
    server, shared, live = built.server, built.shared, built.live
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, DRAIN_SECONDS)
        described = Described(str(server.address), built.clock.wall_ms(), lambda: live.version)
        running = await running_partitions(built.first, shared, described)
        stack.callback(running.locks.close)
        readiness = Readiness(*built.first.health, live)
        parts = Parts(built.first.partitions, built.first.checker, readiness)
        exporting = built.telemetry.exporting(shared.instance, parts)
        metrics = await stack.enter_async_context(exporting)
        await server.start()
        address = await stack.enter_async_context(
            operations(settings, readiness, shared.counters, metrics)
        )
        async with asyncio.TaskGroup() as tasks:
            following = Following(
                *(built, running, tasks, described),
                readiness=readiness,
                metrics=parts,
                is_certain=is_certain,
            )
            running.start(tasks, shared)
            running.use(tasks)
            work = [tasks.create_task(one) for one in (server.show(readiness), following.run())]
            try:
                yield Sidecar(server, address, following, readiness, live)
            finally:
                await server.stop(DRAIN_SECONDS)  # first: running Checks still need the links
                for task in work:
                    task.cancel()
                await asyncio.wait(work)
                await following.stop()
