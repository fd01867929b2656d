"""Usage in several partitions: that of a key lies in its partition."""

from collections.abc import Sequence

from authz.core.partitions import Partitions
from authz.core.usage.ports import UsageEraser
from authz.flows.partitioned.asking import ask


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
