"""Sentinel: asks for the primary's address at every connect.

The answers are hints. An isolated Sentinel names the old primary, and any Sentinel may name a dead
one. So they are asked in random order, and the named server must prove that it is the primary: see
feed.py.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio
from redis import exceptions
from redis.asyncio.sentinel import Sentinel as Monitors

from authz.core.errors import Unavailable
from authz.core.listen_address import Address
from authz.storage.refusals import refusal

ASK_SECONDS: Final = 0.25  # timeout for one Sentinel

Dial = Callable[[str, int, float], redis.asyncio.Redis]  # host, port, timeout


@dataclass(frozen=True, slots=True)
class Sentinel:
    """Finds the primary through Sentinel, and makes clients that follow it.

    hosts: addresses of the Sentinels. service: the name under which they know the primary.
    """

    hosts: tuple[Address, ...]
    service: str

    def __str__(self) -> str:
        return f"{self.service} behind Sentinel {', '.join(map(str, self.hosts))}"

    async def primary(self, dial: Dial) -> tuple[str, int]:
        """Return host and port of the primary. dial: makes a client for one Sentinel.

        Asks the Sentinels in random order, until one names it, each for at most ASK_SECONDS
        (0.25 s) per connect and reply. Raises Unavailable if none names a primary.
        """
        # In its own task: redis-py sometimes swallows a cancellation (measured). Then the caller
        # could not be stopped.
        asking = asyncio.create_task(self._ask(dial))
        asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait([asking])
        finally:
            asking.cancel()
        return asking.result()

    async def _ask(self, dial: Dial) -> tuple[str, int]:
        monitors = self._monitors(dial)
        try:
            host, port = await monitors.discover_master(self.service)
        except (exceptions.RedisError, OSError) as cause:
            why = refusal(cause).partition(" : ")[0]  # redis-py appends the repr of its clients
            raise Unavailable(f"no Sentinel names a primary: {why}") from None
        finally:
            for asked in monitors.sentinels:
                await asked.aclose()
        return str(host), int(port)

    def client(self, dial: Dial, options: Mapping[str, Any]) -> redis.asyncio.Redis:
        """Return a client that asks the Sentinels for the primary at every connect. Connects later.

        options: of each connection to the primary. Closing it closes the connections to the
        Sentinels.
        """
        monitors = self._monitors(dial)
        client: _Client = monitors.master_for(self.service, redis_class=_Client, **options)
        client.monitors = monitors
        return client

    def _monitors(self, dial: Dial) -> Any:
        untyped: Any = Monitors
        monitors = untyped([])
        hosts = random.sample(self.hosts, len(self.hosts))
        monitors.sentinels = [dial(asked.host, asked.port, ASK_SECONDS) for asked in hosts]
        return monitors


class _Client(redis.asyncio.Redis):
    """A client that also closes its connections to the Sentinels."""

    monitors: Any

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the client and its connections to the Sentinels."""
        await super().aclose(close_connection_pool)
        for asked in self.monitors.sentinels:
            await asked.aclose()
