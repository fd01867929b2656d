"""Run the admin API as a process: signals and shutdown."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import uvloop

from authz.process.ending import Ending
from authz.process.hardening import disable_core_dumps, raise_file_limit
from authz.settings.model import Settings
from authz.telemetry import log_to_stderr
from authz.wiring.admin import admin_process
from authz.wiring.administration import partitions
from authz.wiring.partition_count import resolved_if_possible, until_moved
from authz.wiring.pepper_files import exposed_peppers

log = logging.getLogger("authz")

MOVED: Final = "the store was moved to {} partitions; starting again with them"


def serve_admin(read_settings: Callable[[], Settings]) -> None:
    """Run the admin API until a signal ends it. Raises BadInput if it cannot start.

    If the store is moved to more partitions, it drains and starts again with them.

    Also disables core dumps, raises the limit on open files and logs to stderr.
    """
    disable_core_dumps()
    raise_file_limit()
    settings = read_settings()
    log_to_stderr(settings.log.level)
    uvloop.run(_serve(settings))


async def _serve(given: Settings) -> None:
    ending = Ending()
    ending.listen()
    settings: Settings | None = await resolved_if_possible(given)
    while settings is not None:
        settings = await _serve_partitions(given, settings, ending)


async def _serve_partitions(given: Settings, settings: Settings, ending: Ending) -> Settings | None:
    """Serve with this number of partitions. Return settings with that of a moved store, or None."""
    async with admin_process(settings) as running:
        for line in exposed_peppers(settings):
            log.warning("%s", line)
        log.info(
            "serving the admin API on %s, HTTP on %s, store %s",
            running.server.address,
            running.http,
            partitions(settings)[0].address,
        )
        requested = asyncio.create_task(ending.requested())
        moved = asyncio.create_task(until_moved(given, settings))
        await asyncio.wait([requested, moved], return_when=asyncio.FIRST_COMPLETED)
        if requested.done():
            moved.cancel()
            running.readiness.leaving = f"stopping: {await requested}"
            log.info("%s", running.readiness.leaving)
            await ending.pause(settings.shutdown.delay)
            await running.drain(ending)
            return None
        requested.cancel()
        running.readiness.leaving = MOVED.format(moved.result().redis.count)
        log.info("%s", running.readiness.leaving)
        await running.drain(ending)
        return moved.result()
