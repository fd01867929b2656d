"""How a process is told to end, and how much time it has for that."""

import asyncio
import contextlib
import signal


class Ending:
    """What this process is told about its end.

    SIGTERM, or a reason of its own: in good order, after a pause in which whoever asks it can turn
    to another. SIGINT: somebody waits at a terminal, so without the pause. A second word, whatever
    it is: at once.
    """

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self._hurried = asyncio.Event()
        self._reason = ""
        self._has_pause = True

    def listen(self) -> None:
        """Take SIGTERM and SIGINT from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.tell, number.name)

    def tell(self, reason: str) -> None:
        """It is time to go, or to go faster."""
        if self._told.is_set():
            self._hurried.set()
            return
        self._reason = reason
        self._has_pause = reason != signal.SIGINT.name
        self._told.set()

    async def told(self) -> str:
        """Wait for the first word; returns the reason."""
        await self._told.wait()
        return self._reason

    async def hurried(self) -> None:
        """Wait for the second word."""
        await self._hurried.wait()

    async def pause(self, seconds: float) -> None:
        """Wait so long, unless nobody needs it or there is a second word."""
        if self._has_pause:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), seconds)
