"""Run the admin API as a process: signals and shutdown."""

import logging
from collections.abc import Callable

import uvloop

from authz.process.ending import Ending
from authz.process.hardening import disable_core_dumps, raise_file_limit
from authz.settings.model import Settings
from authz.telemetry import log_to_stderr
from authz.wiring.admin import admin_process
from authz.wiring.administration import partitions
from authz.wiring.pepper_files import exposed_peppers

log = logging.getLogger("authz")


def serve_admin(read_settings: Callable[[], Settings]) -> None:
    """Run the admin API until a signal ends it. Raises BadInput if it cannot start.

    Also disables core dumps, raises the limit on open files and logs to stderr.
    """
    disable_core_dumps()
    raise_file_limit()
    settings = read_settings()
    log_to_stderr(settings.log.level)
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    ending = Ending()
    ending.listen()
    async with admin_process(settings) as running:
        for line in exposed_peppers(settings):
            log.warning("%s", line)
        log.info(
            "serving the admin API on %s, HTTP on %s, store %s",
            running.server.address,
            running.http,
            partitions(settings)[0].address,
        )
        running.readiness.leaving = f"stopping: {await ending.requested()}"
        log.info("%s", running.readiness.leaving)
        await ending.pause(settings.shutdown.delay)
        await running.drain(ending)
