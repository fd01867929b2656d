"""Lists of keys over several partitions, merged into one order."""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from authz.core.admin_ports import KeyIndex
from authz.core.errors import Unreadable
from authz.core.records import KeyRecord
from authz.core.selector import Position
from authz.flows.partitioned.asking import ask, ask_all, ask_each
from authz.flows.partitioned.places import Places

LEAST: Final = 8  # positions asked of each partition at once


class PartitionedIndex:
    """A KeyIndex. A position says nothing about partitions, so it stays good in every one."""

    def __init__(self, places: Places, parts: Sequence[KeyIndex]) -> None:
        self._places = places
        self._parts = parts

    async def kids(
        self,
        client_id: str | None,
        after: Position | None,
        count: int,
        *,
        is_newest_first: bool = False,
    ) -> Sequence[Position]:
        """Implement KeyIndex.kids.

        Each partition is asked for twice its share, and once more if its keys may go on before the
        end. Raises Unavailable if one cannot be asked: a list is never without its keys.
        """
        width = min(count, max(LEAST, -(-2 * count // len(self._parts))))
        found = await ask_all(
            [
                part.kids(client_id, after, width, is_newest_first=is_newest_first)
                for part in self._parts
            ]
        )
        lists = [list(places) for places in found]
        ended = {at for at, places in enumerate(lists) if len(places) < width}
        while True:
            merged = sorted(chain(*lists), reverse=is_newest_first)[:count]
            short = [
                at
                for at, places in enumerate(lists)
                if at not in ended
                and (len(merged) < count or _before(places[-1], merged[-1], is_newest_first))
            ]
            if not short:
                return merged
            for at in short:
                last = lists[at][-1]
                more = await ask(
                    at,
                    self._parts[at].kids(client_id, last, width, is_newest_first=is_newest_first),
                )
                lists[at] += more
                if len(more) < width:
                    ended.add(at)

    async def texts(
        self, kids: Sequence[str], fields: Sequence[str]
    ) -> Sequence[Sequence[str | None]]:
        """Implement KeyIndex.texts."""
        homes = await self._places.of_all(kids)
        return await ask_each(kids, homes, lambda at, own: self._parts[at].texts(own, fields))

    async def read(self, kids: Sequence[str]) -> Sequence[KeyRecord | Unreadable | None]:
        """Implement RecordReader.read."""
        homes = await self._places.of_all(kids)
        return await ask_each(kids, homes, lambda at, own: self._parts[at].read(own))


def _before(one: Position, other: Position, is_newest_first: bool) -> bool:
    return one > other if is_newest_first else one < other
