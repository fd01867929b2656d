"""Run several sidecars as processes of one command, with one listener for their operations."""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import uvloop

from authz.console.operations import MetricsPage
from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.process.children import Children
from authz.process.ending import Ending
from authz.process.hardening import disable_core_dumps, raise_file_limit
from authz.process.liveness import HANG_SECONDS
from authz.process.socket_page import get
from authz.settings.model import Settings
from authz.telemetry import Counters, log_to_stderr
from authz.telemetry.catalogue import READY
from authz.telemetry.merged_metrics import merged
from authz.wiring.listeners import operations
from authz.wiring.several import check_addresses, operations_addresses
from authz.wiring.sidecar import DRAIN_SECONDS

log = logging.getLogger("authz")

MARGIN_SECONDS: Final = 10.0  # for a child to end, beyond its delay and its drain
PAGE_SECONDS: Final = 2.0  # for a page of metrics

# Of a process that does not answer: the metrics of one that is not ready.
_READY: Final = READY.prometheus
NO_ANSWER: Final = (
    HTTPStatus.OK,
    f"# HELP {_READY} {READY.description}\n# TYPE {_READY} gauge\n{_READY} 0\n".encode(),
)

Command = Callable[[int, Address], Sequence[str]]
"""The command of the process of a number, which serves its operations at this address."""


def serve(
    read_settings: Callable[[], Settings],
    processes: int,
    command: Command,
    hang_seconds: float = HANG_SECONDS,
) -> None:
    """Run this number of sidecars until a signal ends them.

    `ops.listen` and `ops.health_listen` answer for all of them: ready if one of them is, and the
    metrics of each with a label `process`. SIGHUP replaces them one after the other. A process
    that does not answer for `hang_seconds` is killed, and starts again. Raises BadInput if the
    settings cannot be used, or if a process ends at its start.
    """
    disable_core_dumps()
    raise_file_limit()
    settings = read_settings()
    log_to_stderr(settings.log.level)
    with ExitStack() as stack:
        sockets = stack.enter_context(operations_addresses(settings, processes))
        listens = check_addresses(settings, processes)
        commands = [command(number, socket) for number, socket in enumerate(sockets)]
        paths = [socket.path for socket in sockets]
        children = partial(
            Children,
            commands,
            partial(probe, paths),
            stop_seconds(settings),
            hang_seconds,
        )
        log.info("starting %d processes for %s", processes, ", ".join(map(str, listens)))
        uvloop.run(_serve(settings, read_settings, children, paths))


def stop_seconds(settings: Settings) -> float:
    """Return the seconds that a process with these settings may take to end."""
    return settings.shutdown.delay + DRAIN_SECONDS + MARGIN_SECONDS


def probe(paths: Sequence[str], number: int, seconds: float) -> tuple[bool, dict[str, Any]] | None:
    """Return the readiness of a process and its components; None if it does not answer.

    seconds: for each wait for the process.
    """
    found = get(paths[number], "/readyz", seconds)
    if found is None:
        return None
    try:
        answer = json.loads(found[1])
        return answer["status"] == "ready", answer["components"]
    except (ValueError, KeyError, TypeError):
        return None


class AllReadiness:
    """The readiness of all processes: ready if one of them is."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self.leaving = ""
        """Why the processes are shutting down; empty while they are not."""

    def __call__(self) -> bool:
        """Return whether a process is ready, and none is asked to end."""
        return not self.leaving and any(state.is_ready for state in self._children.states)

    def report(self) -> tuple[bool, dict[str, object]]:
        """Return the readiness, and the components of each process by its number."""
        return self(), {
            f"process {number}": {"ready": state.is_ready} | (state.components or {})
            for number, state in enumerate(self._children.states)
        }


def metrics_of(paths: Sequence[str]) -> MetricsPage:
    """Return the page of the metrics of all processes at these Unix sockets.

    All are asked at once, so that those that hang take PAGE_SECONDS (2 s) together. A process that
    does not answer is not ready, and has no other metric.
    """

    def page(accept: str) -> tuple[bytes, str]:
        with ThreadPoolExecutor(len(paths), "metrics") as threads:
            found = list(threads.map(lambda path: get(path, "/metrics", PAGE_SECONDS), paths))
        answers = enumerate(NO_ANSWER if one is None else one for one in found)
        pages = {str(n): body.decode() for n, (status, body) in answers if status == HTTPStatus.OK}
        return merged(pages, accept)

    return page


async def _serve(
    settings: Settings,
    read_settings: Callable[[], Settings],
    make: Callable[[], Children],
    paths: Sequence[str],
) -> None:
    ending, children = Ending(), make()
    ending.listen()
    readiness = AllReadiness(children)
    page = metrics_of(paths) if settings.telemetry.metrics else None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(children.stop)
        await stack.enter_async_context(operations(settings, readiness, Counters(), page))
        starting = asyncio.create_task(children.start())
        replacing = _listen_for_hangup(
            partial(read_again, read_settings, settings, len(paths)), children, starting, ending
        )
        requested = asyncio.create_task(ending.requested())
        await asyncio.wait([starting, requested], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        reason = await requested
        readiness.leaving = f"stopping: {reason}"
        log.info("%s", readiness.leaving)
        for task in [starting, *replacing]:
            task.cancel()
        number = signal.SIGINT if reason == signal.SIGINT.name else signal.SIGTERM
        stopping = asyncio.create_task(children.stop(number))
        repeated = asyncio.create_task(ending.repeated())
        await asyncio.wait([stopping, repeated], return_when=asyncio.FIRST_COMPLETED)
        if repeated.done():
            await children.stop(number)
        repeated.cancel()
        await stopping


def read_again(
    read_settings: Callable[[], Settings], started: Settings, processes: int
) -> Settings:
    """Return the settings of now. Raises BadInput if processes could not start with them.

    started: the settings that this process began with. It keeps its own listeners of these.
    """
    settings = read_settings()
    check_addresses(settings.changed(ops=started.ops), processes)
    for name in ("listen", "health_listen"):
        if getattr(settings.ops, name) != getattr(started.ops, name):
            log.warning("ops.%s has changed; restart the command for it", name)
    return settings


def _listen_for_hangup(
    read: Callable[[], Settings],
    children: Children,
    starting: asyncio.Task[None],
    ending: Ending,
) -> set[asyncio.Task[None]]:
    """Replace the processes at each SIGHUP, if the settings can be used, once all have started.

    A SIGHUP during a replacement causes one more after it, which reads the settings of then.
    Further ones meanwhile add none. If the terminal of this process was closed, request the end
    instead. Return the running replacements, which change.
    """
    running: set[asyncio.Task[None]] = set()
    turn = asyncio.Lock()
    waiting = False
    has_terminal = sys.stderr.isatty()

    async def replace() -> None:
        nonlocal waiting
        await asyncio.wait([starting])
        async with turn:
            waiting = False
            try:
                settings = read()
            except BadInput as cause:
                log.warning("the processes are not replaced: %s", cause)
                return
            await children.replace(stop_seconds(settings))

    def hang_up() -> None:
        nonlocal waiting
        if has_terminal and not sys.stderr.isatty():
            ending.request(signal.SIGHUP.name)
        elif not waiting:
            waiting = True
            task = asyncio.create_task(replace())
            running.add(task)
            task.add_done_callback(running.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
    return running
