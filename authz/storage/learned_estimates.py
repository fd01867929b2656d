"""LearnedEstimates: reads the estimates that the meters publish, for a sidecar."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from authz.core.budgets.learned import Estimates, Learned, merged, parse_learned
from authz.core.errors import Unavailable
from authz.storage import schema
from authz.storage.link import Link

PAUSE: Final = 10.0  # seconds between two readings

log = logging.getLogger("authz.store")


class LinkSource(Protocol):
    """A partition of the store, with a link to it."""

    @property
    def link(self) -> Link | None:
        """The link, or None without one."""
        ...

    @property
    def names(self) -> schema.Names:
        """The names of the partition's data."""
        ...


class LearnedEstimates:
    """Keeps `estimates` current while they are wanted. sources: the partitions of the store.

    While a partition cannot be read, its last estimates stay.
    """

    def __init__(
        self,
        estimates: Estimates,
        sources: Sequence[LinkSource],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._estimates = estimates
        self._sources = sources
        self._found: list[Mapping[tuple[str, str], Learned]] = [{} for _ in sources]
        self._faults = [""] * len(sources)
        self._sleep = sleep

    async def run(self) -> None:
        """Read now and every PAUSE (10 s), until cancelled. A fault is logged when it changes."""
        while True:
            if self._estimates.is_wanted:
                before = list(self._found)
                for number, source in enumerate(self._sources):
                    if source.link is not None:
                        await self._read(number, source.link, source.names)
                if any(new is not old for new, old in zip(self._found, before, strict=True)):
                    self._estimates.replace(merged(self._found))
            await self._sleep(PAUSE)

    async def _read(self, number: int, link: Link, names: schema.Names) -> None:
        try:
            self._found[number] = _parsed(await link.call("HGETALL", names.estimates))
        except Unavailable as cause:
            fault = str(cause)
        else:
            fault = ""
        if fault and fault != self._faults[number]:
            log.warning("learned estimates stay as they are: %s", fault)
        self._faults[number] = fault


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
