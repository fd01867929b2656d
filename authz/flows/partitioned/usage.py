"""Usage in several partitions: that of a key lies in its partition."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from authz.core.partitions import Partitions
from authz.core.usage.ports import UsageEraser
from authz.core.usage.question import LatestUse
from authz.flows.partitioned.asking import ask
from authz.flows.usage.command_ports import UseReader


class PartitionedEraser:
    """A UsageEraser."""

    def __init__(self, partitions: Partitions, parts: Sequence[UsageEraser]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def erase(self, kid: str, today: int, *, permanently: bool = False) -> int:
        """Implement UsageEraser.erase."""
        at = self._partitions.of(kid)
        return await ask(at, self._parts[at].erase(kid, today, permanently=permanently))

    async def keep_again(self, kid: str) -> None:
        """Implement UsageEraser.keep_again."""
        at = self._partitions.of(kid)
        await ask(at, self._parts[at].keep_again(kid))


class PartitionedUses:
    """A UseReader."""

    def __init__(self, partitions: Partitions, parts: Sequence[UseReader]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def latest_use(self, kid: str) -> LatestUse:
        """Implement UseReader.latest_use."""
        at = self._partitions.of(kid)
        return await ask(at, self._parts[at].latest_use(kid))

    async def latest_times(self, kids: Sequence[str]) -> Mapping[str, int]:
        """Implement UseReader.latest_times."""
        return await self._each(kids, lambda part, own: part.latest_times(own))

    async def requests_of_30_days(self, kids: Sequence[str]) -> Mapping[str, int]:
        """Implement UseReader.requests_of_30_days."""
        return await self._each(kids, lambda part, own: part.requests_of_30_days(own))

    async def _each(
        self,
        kids: Sequence[str],
        read: Callable[[UseReader, Sequence[str]], Awaitable[Mapping[str, int]]],
    ) -> Mapping[str, int]:
        shares: dict[int, list[str]] = {}
        for kid in kids:
            shares.setdefault(self._partitions.of(kid), []).append(kid)
        found: dict[str, int] = {}
        for at, own in shares.items():
            found |= await ask(at, read(self._parts[at], own))
        return found
