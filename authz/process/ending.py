"""Requests to end the process: signals, and the time that they leave for shutdown."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable


class Ending:
    """Requests to end this process.

    SIGTERM or an internal reason: shut down after a pause, in which clients turn to another
    process. SIGINT: a person waits at a terminal, so there is no pause. A second request of any
    kind: end at once.
    """

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self._repeated = asyncio.Event()
        self._reason = ""
        self._has_pause = True

    def listen(self) -> None:
        """Handle SIGTERM and SIGINT as requests from now on. Call it inside the event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request, number.name)

    def request(self, reason: str, *, has_pause: bool = True) -> None:
        """Request the end. The first request sets the reason; a later one means at once.

        reason: text for the log. "SIGINT" means without a pause, as `has_pause` False does.
        """
        if self._requested.is_set():
            self._repeated.set()
            return
        self._reason = reason
        self._has_pause = has_pause and reason != signal.SIGINT.name
        self._requested.set()

    async def requested(self) -> str:
        """Wait for the first request and return its reason. Returns at once if there was one."""
        await self._requested.wait()
        return self._reason

    async def repeated(self) -> None:
        """Wait for the second request. Returns at once if there was one."""
        await self._repeated.wait()

    async def pause(self, seconds: float) -> None:
        """Wait for `seconds`, or until a second request.

        Return at once if SIGINT was the first request.
        """
        if self._has_pause:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._repeated.wait(), seconds)

    async def drain(self, stop: Callable[[float], Awaitable[None]], seconds: float) -> None:
        """Stop a server, and wait for what it still serves; after a second request, do not wait.

        stop: takes the seconds that it may wait, and may be called again while it waits.
        """
        stopping = asyncio.ensure_future(stop(seconds))
        repeated = asyncio.create_task(self.repeated())
        await asyncio.wait([stopping, repeated], return_when=asyncio.FIRST_COMPLETED)
        if repeated.done():
            await stop(0)
        repeated.cancel()
        await stopping
