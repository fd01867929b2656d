"""An Envoy that is drained and replaced, or killed, on the same ports."""

import asyncio
import os
import signal
import time
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.support.proxy import envoys

SECONDS = 120.0  # in which a meter takes everything
PAUSE = 0.1
WRITTEN = "access_logs.open_telemetry_access_log.logs_written"
ANSWERED = ("http.ingress.ext_authz.authz.ok", "http.ingress.ext_authz.authz.denied")
ACTIVE = "http.ingress.downstream_rq_active"


class Proxy:
    """One Envoy with two workers. `start` may be called again once it has ended."""

    def __init__(self, whole: dict[str, Any], file: Path) -> None:
        self._whole = whole
        self._file = file
        admin = whole["admin"]["address"]["socket_address"]["port_value"]
        self._admin = f"http://127.0.0.1:{admin}"
        self._running: AbstractContextManager[int] | None = None
        self._pid = 0

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        running = envoys.running(self._whole, self._file, workers=2, flush_ms=200)
        self._pid = await asyncio.to_thread(running.__enter__)
        self._running = running

    async def stop(self) -> None:
        """End it with SIGTERM. Does nothing if it does not run."""
        if self._running is not None:
            running, self._running = self._running, None
            await asyncio.to_thread(running.__exit__, None, None, None)

    async def drain(self) -> None:
        """End it as docs/usage.md says: no request runs, and a meter has every record."""
        await asyncio.to_thread(self._ask, "/healthcheck/fail", "POST")
        await self.delivered()
        await self.stop()

    async def kill(self) -> None:
        """End it with SIGKILL."""
        os.kill(self._pid, signal.SIGKILL)
        await self.stop()

    async def delivered(self) -> None:
        """Wait until no request runs and a meter has every record. Raises TimeoutError."""
        deadline = time.monotonic() + SECONDS
        while await self.running() or await self.held():
            if time.monotonic() > deadline:
                raise TimeoutError(f"Envoy still holds records after {SECONDS:g} s")
            await asyncio.sleep(PAUSE)

    async def running(self) -> int:
        """Return how many requests run."""
        return (await self._stats())[ACTIVE]

    async def held(self) -> int:
        """Return how many requests were answered by the gate whose record no meter has."""
        stats = await self._stats()
        return sum(stats[name] for name in ANSWERED) - stats[WRITTEN]

    async def _stats(self) -> dict[str, int]:
        text = await asyncio.to_thread(self._ask, "/stats")
        pairs = (line.partition(": ") for line in text.splitlines())
        return {name: int(value) for name, _, value in pairs if value.isdecimal()}

    def _ask(self, path: str, method: str = "GET") -> str:
        request = urllib.request.Request(self._admin + path, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read().decode()
