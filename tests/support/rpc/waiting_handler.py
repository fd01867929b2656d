"""A Check handler whose answers wait until a test releases them."""

import asyncio


class WaitingHandler:
    """A handler that waits for `released`. It counts its waiting and its cancelled calls."""

    def __init__(self) -> None:
        self.waiting = self.cancelled = 0
        self.released = asyncio.Event()

    async def check(self, _raw: bytes, _traceparent: bytes | None = None) -> bytes:
        """Return an empty answer after `released` is set."""
        self.waiting += 1
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b""
