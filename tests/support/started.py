"""Servers that are started together, and all stopped if one of them does not start."""

import contextlib
from abc import abstractmethod
from typing import Self


class Started(contextlib.AsyncExitStack):
    """An async context manager that calls `_start`, and closes itself if that fails."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            await self._start()
        except BaseException:
            await self.aclose()
            raise
        return self

    @abstractmethod
    async def _start(self) -> None:
        """Start the servers, on this stack."""
