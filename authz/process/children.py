"""Child processes that share a task: started together, watched, started again, replaced in turn."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from authz.core.errors import BadInput
from authz.process.liveness import HANG_SECONDS, Liveness

log = logging.getLogger("authz")

FIRST_PAUSE: Final = 0.1  # seconds before a child that ended starts again
LONGEST_PAUSE: Final = 10.0
LASTING_SECONDS: Final = 10.0  # after which a child that ends counts as one that worked
READY_SECONDS: Final = 60.0  # for a replaced child to become ready
PAUSE: Final = 0.1  # seconds between two probes of a child

Probe = Callable[[int, float], tuple[bool, dict[str, Any]] | None]
"""Returns whether the child of this number is ready, and its components; None without an answer.

It may block for the seconds of its second argument: a thread calls it.
"""


@dataclass(frozen=True, slots=True)
class State:
    """The last answer of a child. `answers` is False if it did not answer."""

    answers: bool = False
    is_ready: bool = False
    components: dict[str, Any] | None = None


class EndedAtOnce(BadInput):
    """A child ended before it answered for the first time. status: its exit status."""

    def __init__(self, number: int, status: int) -> None:
        super().__init__("--processes", f"process {number} {ended(status)} at its start")
        self.status = status


class Children:
    """Runs one child for each command, until `stop`.

    Each child gets a pipe as stdin. The pipe closes when this process ends, also by SIGKILL, and
    then the child has to end. A child is in a session of its own, so that a signal of the terminal
    reaches this process alone. stop_seconds: for a child to end after SIGTERM, then SIGKILL; a
    replacement may raise it.
    hang_seconds: for a child that has answered to answer again, then SIGKILL, by `Liveness`.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        probe: Probe,
        stop_seconds: float,
        hang_seconds: float = HANG_SECONDS,
    ) -> None:
        self._children = [_Child(number, command) for number, command in enumerate(commands)]
        self._stop_seconds = stop_seconds
        self._unheard = Liveness(hang_seconds)
        self._probe = probe
        # A thread for each: children that hang delay no probe of another one.
        self._probers = ThreadPoolExecutor(max(1, len(commands)), "probe")
        self._states = [State() for _ in commands]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def states(self) -> list[State]:
        """The state of each child, at most PAUSE (0.1 s) after its last answer."""
        return list(self._states)

    async def start(self) -> None:
        """Start all children and return when each has answered.

        One that ends after its first answer starts again. Raises EndedAtOnce if one ends before it,
        BadInput if the system refuses to start one, for example because no process or no open file
        is left; `stop` then ends the others.
        """
        for child in self._children:
            try:
                await child.spawn()
            except OSError as cause:
                problem = f"process {child.number} cannot be started: {cause.strerror}"
                raise BadInput("--processes", problem) from None
        self._tasks = [asyncio.create_task(self._watch(child)) for child in self._children]
        starting = list(self._children)
        while starting:
            await asyncio.sleep(PAUSE)
            starting = [child for child in starting if not self._keep(child)]

    async def replace(self, stop_seconds: float) -> None:
        """Replace each child by a new one, one after the other: end, start, wait until it is ready.

        Children that are not ready come first, so that those that serve stay until these do. A
        child that is not ready within READY_SECONDS (60 s) ends this: the others keep running as
        they are. stop_seconds: for a child to end from now on, unless it has longer already. One
        call at a time.
        """
        self._stop_seconds = max(self._stop_seconds, stop_seconds)
        left = list(self._children)
        while left:
            child = min(left, key=lambda each: self._states[each.number].is_ready)
            left.remove(child)
            if not await self._replace(child):
                log.error("process %d is not ready; the others are not replaced", child.number)
                return
        log.info("all processes are replaced")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send this signal to each child and wait until all have ended. May be called again."""
        for task in self._tasks:
            task.cancel()
        self._probers.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(*(child.end(number, self._stop_seconds) for child in self._children))

    def _keep(self, child: "_Child") -> bool:
        """Keep a child running, if it has answered. Return whether it has."""
        if child.has_answered:
            self._tasks.append(asyncio.create_task(child.keep_running()))
        elif child.status is not None:
            raise EndedAtOnce(child.number, child.status)
        return child.has_answered

    async def _replace(self, child: "_Child") -> bool:
        log.info("replacing process %d", child.number)
        await child.restart(self._stop_seconds)
        deadline = time.monotonic() + READY_SECONDS
        self._states[child.number] = State()
        while not self._states[child.number].is_ready:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(PAUSE)
        return True

    async def _watch(self, child: "_Child") -> None:
        pid, liveness = child.pid, self._unheard
        while True:
            if child.pid != pid:
                pid, liveness = child.pid, self._unheard
            found, took = await self._probed(child, liveness.seconds)
            child.has_answered |= found is not None
            if found is None or liveness.is_silent or child.status is not None:
                self._states[child.number] = State()
            else:
                self._states[child.number] = State(True, *found)
            liveness = liveness.after(answers=found is not None, took=took)
            if liveness.hangs:
                child.kill(pid, f"has not answered for {liveness.hang_seconds:g} s")
                liveness = self._unheard
            await asyncio.sleep(PAUSE)

    async def _probed(
        self, child: "_Child", seconds: float
    ) -> tuple[tuple[bool, dict[str, Any]] | None, float]:
        """Return the answer of a child, None without one, and the time that it took in seconds."""
        began, loop = time.monotonic(), asyncio.get_running_loop()
        found = await loop.run_in_executor(self._probers, self._probe, child.number, seconds)
        return found, time.monotonic() - began


class _Child:
    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number = number
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self.has_answered = False
        self._is_asked_to_end = False
        self._started = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The id of the process that was started last, or None before the first start."""
        return self._process.pid if self._process else None

    @property
    def status(self) -> int | None:
        """The exit status, or None while the child runs."""
        return self._process.returncode if self._process else None

    async def spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        self._started.set()

    async def keep_running(self) -> None:
        """Start the child again whenever it ends, until cancelled.

        The pause doubles up to LONGEST_PAUSE (10 s) while the child ends within LASTING_SECONDS
        (10 s). A child that was asked to end starts again at once. A start that the system refuses
        is repeated like one that ends at once.
        """
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            status = await self._ended()
            if self._is_asked_to_end:
                pause = FIRST_PAUSE
            else:
                if time.monotonic() - began > LASTING_SECONDS:
                    pause = FIRST_PAUSE
                log.warning(
                    "process %d %s; it starts again in %g s", self.number, ended(status), pause
                )
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            self._is_asked_to_end = False
            try:
                await self.spawn()
            except OSError as cause:
                log.warning("process %d cannot be started: %s", self.number, cause.strerror)

    async def restart(self, stop_seconds: float) -> None:
        """End the child, and return when `keep_running` has started the next one."""
        self._is_asked_to_end = True
        self._started.clear()
        await self.end(signal.SIGTERM, stop_seconds)
        await self._started.wait()

    async def end(self, number: signal.Signals, stop_seconds: float) -> None:
        """Send a signal, and wait until the child has ended; after `stop_seconds` kill it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), stop_seconds)
        except TimeoutError:
            self.kill(process.pid, f"did not end within {stop_seconds:g} s")
            await process.wait()

    def kill(self, pid: int | None, reason: str) -> None:
        """Send SIGKILL, unless the process of this id has ended. reason: for the log."""
        if self._process is not None and self.pid == pid and self.status is None:
            log.warning("process %d %s; it is killed", self.number, reason)
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _ended(self) -> int:
        if self._process is None:
            raise RuntimeError("the child was not started")
        return await self._process.wait()


def ended(status: int) -> str:
    """Say how a process ended: `ended with status 1`, or `was ended by SIGKILL`."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
