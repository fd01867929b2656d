"""Run a sidecar as a process: signals, reloads, recycling and shutdown."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from authz.core.errors import BadInput
from authz.process import hot_path
from authz.process.ending import Ending
from authz.process.gc_tuning import tune_gc
from authz.process.hardening import disable_core_dumps, raise_file_limit
from authz.process.recycling import outgrown
from authz.settings import files as settings_files
from authz.settings.model import Settings
from authz.telemetry import log_to_stderr
from authz.wiring.administration import partitions
from authz.wiring.file_changes import FileChanges
from authz.wiring.live_settings import LiveSettings
from authz.wiring.pepper_files import exposed_peppers
from authz.wiring.sidecar import sidecar

log = logging.getLogger("authz")

LOOK_SECONDS: Final = 1.0  # between two looks at the settings files
# A thread that renders or exports metrics gives the event loop its turn after this time.
SWITCH_SECONDS: Final = 0.0005


def serve(
    read_settings: Callable[[], Settings],
    files: Callable[[], Sequence[Path]] = lambda: (),
    *,
    process: int | None = None,
) -> None:
    """Run a sidecar until a signal ends it. Raises BadInput if it cannot start.

    Also disables core dumps, raises the limit on open files and logs to stderr. files: returns the
    settings file and those that it includes, whose change causes a reload as SIGHUP does; none:
    SIGHUP alone. process: the number of this sidecar among several with one parent. The end of
    stdin then ends it, because its parent has ended.
    """
    disable_core_dumps()
    raise_file_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    changes = FileChanges(files)
    settings = read_settings()
    log_to_stderr(settings.log.level, process)
    read = partial(reread, read_settings, changes)
    uvloop.run(_serve(settings, read, changes, has_parent=process is not None))


def reread(read_settings: Callable[[], Settings], changes: FileChanges) -> Settings:
    """Return the settings for a reload.

    Raises BadInput as `read_settings`, if the settings file has no setting, or if one of the files
    changed meanwhile. Such files are being written, or their writer failed.
    """
    before = changes.stamps()
    if changes.files and not settings_files.read(changes.files[0]).tree:
        raise BadInput("--config", f"{changes.files[0]}: it is empty")
    found = read_settings()
    if changes.stamps() != before:
        raise BadInput("--config", "a settings file changed while it was read; it is read again")
    return found


async def _serve(
    settings: Settings,
    read_settings: Callable[[], Settings],
    changes: FileChanges,
    *,
    has_parent: bool = False,
) -> None:
    ending, reload = Ending(), asyncio.Event()
    ending.listen()
    if has_parent:
        _end_with_parent(ending)
    listen_for_hangup(reload, ending)
    async with sidecar(settings, read_settings) as running:
        tune_gc()
        for line in exposed_peppers(settings):
            log.warning("%s", line)
        log.info(
            "serving Check on %s, operations on %s, store %s, hot path %s",
            running.server.address,
            running.operations,
            partitions(settings)[0].address,
            hot_path.form(),
        )
        if not settings.check.enforce:
            log.warning("check.enforce is false: a request that would be refused is allowed")
        tasks = [
            asyncio.create_task(_recycle(settings.check.recycle_at_mib, ending)),
            asyncio.create_task(keep_reloading(running.settings, reload, changes)),
        ]
        running.readiness.leaving = f"stopping: {await ending.requested()}"
        for task in tasks:
            task.cancel()
        log.info("%s", running.readiness.leaving)
        await ending.pause(settings.shutdown.delay)
        await running.drain(ending)


def _end_with_parent(ending: Ending) -> None:
    """Request the end of this process when stdin ends: the parent holds its other end.

    There is no pause: the next parent needs the addresses.
    """
    stdin, loop = sys.stdin.fileno(), asyncio.get_running_loop()

    def look() -> None:
        if not os.read(stdin, 1):
            loop.remove_reader(stdin)
            ending.request("its parent process has ended", has_pause=False)

    loop.add_reader(stdin, look)


def listen_for_hangup(reload: asyncio.Event, ending: Ending) -> None:
    """Handle SIGHUP: reload; or request the end if the terminal of this process was closed."""
    has_terminal = sys.stderr.isatty()

    def hang_up() -> None:
        if has_terminal and not sys.stderr.isatty():
            ending.request(signal.SIGHUP.name)
        else:
            reload.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)


async def keep_reloading(
    live: LiveSettings, requested: asyncio.Event, changes: FileChanges
) -> None:
    """Reload the settings at each request and after each change of a file, until cancelled."""
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(requested.wait(), LOOK_SECONDS)
        is_requested = requested.is_set()
        if is_requested:
            requested.clear()
            await changes.settle()
        if is_requested or changes.take():
            await asyncio.to_thread(changes.follow)
            await live.reload()


async def _recycle(recycle_at_mib: int, ending: Ending) -> None:
    """Request the end of this process once it has grown beyond the limit, in MiB. 0: never."""
    if recycle_at_mib:
        found = await outgrown(recycle_at_mib)
        ending.request(f"{found} MiB are more than check.recycle_at_mib")
