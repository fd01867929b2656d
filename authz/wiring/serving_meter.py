"""Run a meter as a process: signals and shutdown."""

import asyncio
import logging
import sys

import uvloop

from authz.process.ending import Ending
from authz.process.gc_tuning import tune_gc
from authz.process.hardening import disable_core_dumps, raise_file_limit
from authz.settings.model import Settings
from authz.telemetry import log_to_stderr
from authz.wiring.administration import partitions
from authz.wiring.meter import Tail, meter_process
from authz.wiring.partition_count import resolved_if_possible, until_moved
from authz.wiring.serving import SWITCH_SECONDS
from authz.wiring.serving_admin import MOVED

log = logging.getLogger("authz")


def serve(settings: Settings, tail: Tail | None = None) -> None:
    """Run a meter until a signal ends it. Raises BadInput if it cannot start.

    If the store is moved to more partitions, it starts again with them. Batches that it has not
    confirmed by then come again.

    tail: the log of usage to follow, and its cursor file; BadInput too if its cursor is unusable.
    Also disables core dumps, raises the limit on open files and logs to stderr.
    """
    disable_core_dumps()
    raise_file_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    log_to_stderr(settings.log.level)
    uvloop.run(_serve(settings, tail))


async def _serve(given: Settings, tail: Tail | None) -> None:
    ending = Ending()
    ending.listen()
    settings: Settings | None = await resolved_if_possible(given)
    while settings is not None:
        settings = await _serve_partitions(given, settings, tail, ending)


async def _serve_partitions(
    given: Settings, settings: Settings, tail: Tail | None, ending: Ending
) -> Settings | None:
    """Count with this number of partitions. Return settings with that of a moved store, or None."""
    async with meter_process(settings, tail) as running:
        tune_gc()
        log.info(
            "counting usage from %s, operations on %s, store %s",
            *(running.listen, running.operations, partitions(settings)[0].address),
        )
        requested = asyncio.create_task(ending.requested())
        moved = asyncio.create_task(until_moved(given, settings))
        waited = [requested, moved, *([running.following] if running.following else [])]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not moved.done():
            moved.cancel()
        if running.following and running.following.done():
            requested.cancel()
            running.following.result()
        if moved.done() and not requested.done():
            requested.cancel()
            running.meter.leaving = MOVED.format(moved.result().redis.count)
            running.drain_seconds = 0.0  # the old store counts nothing any more
            log.info("%s", running.meter.leaving)
            return moved.result()
        running.meter.leaving = f"stopping: {await requested}"
        log.info("%s", running.meter.leaving)
        return None
