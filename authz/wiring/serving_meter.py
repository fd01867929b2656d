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
from authz.wiring.serving import SWITCH_SECONDS

log = logging.getLogger("authz")


def serve(settings: Settings, tail: Tail | None = None) -> None:
    """Run a meter until a signal ends it. Raises BadInput if it cannot start.

    tail: the log of usage to follow, and its cursor file; BadInput too if its cursor is unusable.
    Also disables core dumps, raises the limit on open files and logs to stderr.
    """
    disable_core_dumps()
    raise_file_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    log_to_stderr(settings.log.level)
    uvloop.run(_serve(settings, tail))


async def _serve(settings: Settings, tail: Tail | None) -> None:
    ending = Ending()
    ending.listen()
    async with meter_process(settings, tail) as running:
        tune_gc()
        log.info(
            "counting usage from %s, operations on %s, store %s",
            *(running.listen, running.operations, partitions(settings)[0].address),
        )
        requested = asyncio.create_task(ending.requested())
        waited = [requested, *([running.following] if running.following else [])]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if running.following and running.following.done():
            requested.cancel()
            running.following.result()
        running.meter.leaving = f"stopping: {await requested}"
        log.info("%s", running.meter.leaving)
