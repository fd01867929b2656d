"""Events of several partitions: each trail is delivered on its own, in its order.

A sink has a cursor, dead letters and replays in each partition. The id of an event begins with its
partition, so everybody knows from where it comes.
"""

import heapq
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from authz.core.changes import Author
from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.notifications.notification import Notification, partition_of
from authz.core.notifications.ports import DeadLetter, Progress
from authz.core.trail.labels import split_label
from authz.flows.notifications.sinks import SinkState, StoredSinks
from authz.flows.partitioned.asking import ask, ask_all, ask_each
from authz.flows.partitioned.places import Places
from authz.flows.trail.newest_rows import NewestRows

OLDER: Final = "older "


class PartitionedSinks:
    """An EventSinks. rows: of all partitions. names: of the sinks. source: of CloudEvents."""

    def __init__(
        self,
        places: Places,
        parts: Sequence[StoredSinks],
        rows: NewestRows,
        *,
        names: Collection[str],
        source: str,
    ) -> None:
        self.names = names
        self.source = source
        self._places = places
        self._parts = parts
        self._rows = rows

    async def before(
        self, cursor: str, count: int, kid: str = ""
    ) -> Sequence[tuple[str, Notification | None]]:
        """Implement StoredSinks.before. With a kid a cursor is one of its partition."""
        if kid:
            return await self._before(cursor, count, await self._places.trails(kid))
        placed = list(await self._rows.before(cursor, count))
        while placed and len(placed) < count:
            more = await self._rows.before(placed[-1].cursor, count - len(placed))
            if not more:
                break
            placed += more
        events = await ask_each(
            placed,
            [split_label(one.id)[0] or 0 for one in placed],
            lambda at, own: self._parts[at].events([one.row for one in own]),
        )
        return [(one.cursor, event) for one, event in zip(placed, events, strict=True)]

    async def _before(
        self, cursor: str, count: int, trails: Sequence[int]
    ) -> list[tuple[str, Notification | None]]:
        """Return rows of one trail, then of the next. Cursors of the second begin with OLDER."""
        found: list[tuple[str, Notification | None]] = []
        if not cursor.startswith(OLDER):
            at = trails[0]
            found += await ask(at, self._parts[at].before(cursor, count))
            cursor = OLDER
        if len(trails) == 1 or len(found) >= count:
            return found
        at, place = trails[1], cursor.removeprefix(OLDER)
        rows = await ask(at, self._parts[at].before(place, count - len(found)))
        return found + [(OLDER + row_id, event) for row_id, event in rows]

    async def newest(self, event_type: str, kid: str | None, limit: int) -> list[dict[str, Any]]:
        """Implement EventSinks.newest. Events of one partition keep their order."""
        if kid is not None:
            trails = await self._places.trails(kid)
            own = [await ask(at, self._parts[at].newest(event_type, kid, limit)) for at in trails]
            return [one for each in own for one in each][:limit]
        found = await ask_all([part.newest(event_type, None, limit) for part in self._parts])
        return list(heapq.merge(*found, key=lambda one: str(one["time"]), reverse=True))[:limit]

    async def states(self, sink: str | None = None) -> Sequence[SinkState]:
        """Implement EventSinks.states: of each sink, the first partition that fails, if any does.

        A sink has begun when it has in every partition.
        """
        found = await ask_all([part.states(sink) for part in self._parts])
        return [_merged(states) for states in zip(*found, strict=True)]

    async def state(self, sink: str) -> SinkState:
        """Implement StoredSinks.state."""
        (found,) = await self.states(sink)
        return found

    async def replay(
        self, sink: str, event_ids: Sequence[str], author: Author, *, dry_run: bool = False
    ) -> int:
        """Implement EventSinks.replay. Raises BadInput for an id without a known partition."""
        homes: dict[int, list[str]] = {}
        for one in event_ids:
            at, _ = partition_of(one)
            if at is None or at >= len(self._parts):
                raise BadInput(
                    "ID", f"{shown(one)} does not begin with a partition, such as 3.17-0-…"
                )
            homes.setdefault(at, []).append(one)
        asked = homes or {at: list[str]() for at in range(len(self._parts))}
        counts = [
            await ask(at, self._parts[at].replay(sink, own, author, dry_run=dry_run))
            for at, own in asked.items()
        ]
        return sum(counts)


def _merged(states: Sequence[SinkState]) -> SinkState:
    first = states[0]
    dead: dict[str, DeadLetter] = {}
    for one in states:
        dead |= one.dead
    return SinkState(first.name, first.facts, _progress(states), _sorted(dead))


def _progress(states: Sequence[SinkState]) -> Progress | None:
    found = [one.progress for one in states]
    begun = [one for one in found if one is not None]
    if len(begun) < len(found):
        return None
    return next((one for one in begun if one.failing), begun[0])


def _sorted(dead: Mapping[str, DeadLetter]) -> dict[str, DeadLetter]:
    return dict(sorted(dead.items(), key=lambda item: (item[1].at, item[0])))
