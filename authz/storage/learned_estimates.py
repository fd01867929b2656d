"""LearnedEstimates: reads the estimates that the meters publish, for a sidecar."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from authz.core.budgets.learned import Estimates, Learned, parse_learned
from authz.core.errors import Unavailable
from authz.storage import schema
from authz.storage.link import Link

PAUSE: Final = 10.0  # seconds between two readings

log = logging.getLogger("authz.store")


class LearnedEstimates:
    """Keeps `estimates` current while they are wanted. link: returns the link, or None without one.

    While the store cannot be read, the last estimates stay.
    """

    def __init__(
        self,
        estimates: Estimates,
        link: Callable[[], Link | None],
        names: schema.Names,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._estimates = estimates
        self._link = link
        self._name = names.estimates
        self._sleep = sleep
        self._fault = ""

    async def run(self) -> None:
        """Read now and every PAUSE (10 s), until cancelled. A fault is logged when it changes."""
        while True:
            link = self._link()
            if link is not None and self._estimates.is_wanted:
                await self._read(link)
            await self._sleep(PAUSE)

    async def _read(self, link: Link) -> None:
        try:
            found = _parsed(await link.call("HGETALL", self._name))
        except Unavailable as cause:
            fault = str(cause)
        else:
            self._estimates.replace(found)
            fault = ""
        if fault and fault != self._fault:
            log.warning("learned estimates stay as they are: %s", fault)
        self._fault = fault


def _parsed(reply: Any) -> dict[tuple[str, str], Learned]:
    """Return the estimates by route and model, without those that cannot be read."""
    found: dict[tuple[str, str], Learned] = {}
    for place, text in reply.items() if isinstance(reply, dict) else ():
        route, _, model = str(place).partition(" ")
        try:
            found[route, model] = parse_learned(str(text))
        except ValueError:
            continue
    return found
