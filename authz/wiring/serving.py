"""Run a sidecar as a process: signals, reloads, recycling and shutdown."""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import uvloop

from authz.core.errors import BadInput
from authz.process.ending import Ending
from authz.process.gc_tuning import tune_gc
from authz.process.hardening import disable_core_dumps, raise_file_limit
from authz.process.recycling import outgrown
from authz.settings import sources
from authz.settings.model import Settings
from authz.telemetry import log_to_stderr
from authz.wiring.administration import endpoint, exposed_peppers
from authz.wiring.live_settings import LiveSettings
from authz.wiring.sidecar import sidecar

log = logging.getLogger("authz")

LOOK_SECONDS: Final = 1.0  # between two looks at the settings file
SETTLE_SECONDS: Final = 0.1  # between two looks at it after SIGHUP
# A thread that renders or exports metrics gives the event loop its turn after this time.
SWITCH_SECONDS: Final = 0.0005


def serve(read_settings: Callable[[], Settings], file: Path | None = None) -> None:
    """Run a sidecar until a signal ends it. Raises BadInput if it cannot start.

    Also disables core dumps, raises the limit on open files and logs to stderr. file: the settings
    file, whose change causes a reload as SIGHUP does; None: SIGHUP alone.
    """
    disable_core_dumps()
    raise_file_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = read_settings()
    log_to_stderr(settings.log.level)
    uvloop.run(_serve(settings, lambda: reread(read_settings, file), file))


def reread(read_settings: Callable[[], Settings], file: Path | None) -> Settings:
    """Return the settings for a reload.

    Raises BadInput as `read_settings`, or if `file` has no setting. Such a file is one that is
    being written, or whose writer failed. None: no file is checked.
    """
    if file and not sources.file(file).tree:
        raise BadInput("--config", f"{file}: it is empty")
    return read_settings()


async def _serve(
    settings: Settings,
    read_settings: Callable[[], Settings] | None = None,
    file: Path | None = None,
) -> None:
    ending, reload = Ending(), asyncio.Event()
    ending.listen()
    _listen_for_hangup(reload, ending)
    changes = FileChanges(file)
    async with sidecar(settings, read_settings) as running:
        tune_gc()
        for line in exposed_peppers(settings):
            log.warning("%s", line)
        log.info(
            "serving Check on %s, operations on %s, store %s",
            running.server.address,
            running.operations,
            endpoint(settings),
        )
        if not settings.check.enforce:
            log.warning("check.enforce is false: a request that would be refused is allowed")
        tasks = [
            asyncio.create_task(_recycle(settings.check.recycle_at_mib, ending)),
            asyncio.create_task(_reload(running.settings, reload, changes)),
        ]
        running.readiness.leaving = f"stopping: {await ending.requested()}"
        for task in tasks:
            task.cancel()
        log.info("%s", running.readiness.leaving)
        await ending.pause(settings.shutdown.delay)
        await running.drain(ending)


def _listen_for_hangup(reload: asyncio.Event, ending: Ending) -> None:
    """Handle SIGHUP: reload; or request the end if the terminal of this process was closed."""
    has_terminal = sys.stderr.isatty()

    def hang_up() -> None:
        if has_terminal and not sys.stderr.isatty():
            ending.request(signal.SIGHUP.name)
        else:
            reload.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)


async def _reload(live: LiveSettings, requested: asyncio.Event, changes: "FileChanges") -> None:
    """Reload the settings at each request and after each change of the file, until cancelled."""
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(requested.wait(), LOOK_SECONDS)
        is_requested = requested.is_set()
        if is_requested:
            requested.clear()
            await changes.settle()
        if is_requested or changes.take():
            await live.reload()


class FileChanges:
    """Changes of a file, also of one that a symbolic link now names (a Kubernetes ConfigMap).

    A change is another inode, size or modification time. None: no file, so no changes.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._loaded = self._seen = self._stamp()

    def take(self) -> bool:
        """Return True once for each change, when the file looks the same in two calls.

        The first look may find a file that is only half written. False while the file is missing.
        """
        before, self._seen = self._seen, self._stamp()
        if self._seen in (self._loaded, None) or self._seen != before:
            return False
        self._loaded = self._seen
        return True

    async def settle(self, wait: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Wait until two looks at the file, SETTLE_SECONDS apart, agree.

        Then that state counts as taken.
        """
        self._seen = self._stamp()
        while True:
            await wait(SETTLE_SECONDS)
            before, self._seen = self._seen, self._stamp()
            if self._seen == before:
                break
        self._loaded = self._seen

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat() if self._file else None
        except OSError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns) if found else None


async def _recycle(recycle_at_mib: int, ending: Ending) -> None:
    """Request the end of this process once it has grown beyond the limit, in MiB. 0: never."""
    if recycle_at_mib:
        found = await outgrown(recycle_at_mib)
        ending.request(f"{found} MiB are more than check.recycle_at_mib")
