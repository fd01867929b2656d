"""Sinks of events for administrators: the events that they get, their state, and replays."""

from __future__ import annotations  # the types are for readers and checkers alone

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from authz.core import fields
from authz.core.audit import Action
from authz.core.errors import BadInput
from authz.core.notifications.pattern import fits
from authz.core.trail.installation import COUNT, EVENT_IDS, MOST_LISTED, SINK
from authz.core.trail.notes import note_event

if TYPE_CHECKING:
    from authz.core.changes import Author
    from authz.core.notifications.notification import Notification
    from authz.core.notifications.ports import (
        DeadLetter,
        DeadLetters,
        DeliveryProgress,
        Progress,
        Replays,
    )
    from authz.core.ports import Clock
    from authz.core.trail.ports import TrailNotes
    from authz.core.trail.rows import Row
    from authz.flows.notifications.derivation import Derivation

CHUNK: Final = 1000  # ids in one call


@dataclass(frozen=True, slots=True)
class SinkFacts:
    """The settings of a sink that everybody may see. types: patterns of event types."""

    kind: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SinkState:
    """The state of a sink. progress: None before the delivery has begun.

    dead: the events that were given up, by id, the oldest first.
    """

    name: str
    facts: SinkFacts
    progress: Progress | None
    dead: Mapping[str, DeadLetter]


class EventSinks(Protocol):
    """Reads events, and repeats deliveries, for commands. Methods raise Unavailable."""

    async def newest(self, event_type: str, kid: str | None, limit: int) -> list[dict[str, Any]]:
        """Return at most `limit` events as CloudEvents, the newest first.

        event_type: a pattern, as `fits` reads it. kid: of their key; None: of any key.
        """
        ...

    async def states(self, sink: str | None) -> Sequence[SinkState]:
        """Return the state of a sink, or of all. Raises BadInput if no sink has the name."""
        ...

    async def replay(self, sink: str, event_ids: Sequence[str], author: Author) -> int:
        """Let the server deliver events to a sink again, and return their number.

        No ids: all that were given up. Raises BadInput if no sink has the name.
        """
        ...


class StoredSinks:
    """EventSinks over the store. sinks: by the names of the settings. source: of CloudEvents."""

    def __init__(
        self,
        sinks: Mapping[str, SinkFacts],
        source: str,
        derivation: Derivation,
        *,
        progress: DeliveryProgress,
        letters: DeadLetters,
        replays: Replays,
        notes: TrailNotes,
        clock: Clock,
    ) -> None:
        self.derivation = derivation
        self.source = source
        self._sinks = sinks
        self._progress = progress
        self._letters = letters
        self._replays = replays
        self._notes = notes
        self._clock = clock

    @property
    def names(self) -> Collection[str]:
        """The names of the sinks."""
        return self._sinks

    async def events(self, rows: Sequence[Row]) -> Sequence[Notification | None]:
        """Return for each row, in order, its event, or None. Raises Unavailable."""
        return await self.derivation.events(rows)

    async def before(
        self, cursor: str, count: int, kid: str = ""
    ) -> Sequence[tuple[str, Notification | None]]:
        """Return rows before a cursor, newest first: the cursor of the next page, and their events.

        cursor: "" for the last row. Less than `count` rows: there are no more. kid: rows of other
        keys may be left out. Raises Unavailable.
        """
        del kid
        return await self.derivation.before(cursor, count)

    async def newest(self, event_type: str, kid: str | None, limit: int) -> list[dict[str, Any]]:
        """Implement EventSinks.newest."""
        found = await self.derivation.newest(
            limit, lambda one: fits(event_type, one.type) and kid in {None, one.kid}
        )
        return [one.cloud_event(self.source) for one in found]

    async def states(self, sink: str | None = None) -> Sequence[SinkState]:
        """Implement EventSinks.states."""
        return [await self.state(name) for name in chosen(self._sinks, sink)]

    async def state(self, sink: str) -> SinkState:
        """Return the state of a sink. Raises BadInput if no sink has the name."""
        chosen(self._sinks, sink)
        progress, dead = await self._progress.load(sink), await self._dead(sink)
        return SinkState(sink, self._sinks[sink], progress, dead)

    async def replay(
        self, sink: str, event_ids: Sequence[str], author: Author, *, dry_run: bool = False
    ) -> int:
        """Implement EventSinks.replay. dry_run: only count. The audit trail is told first."""
        chosen(self._sinks, sink)
        wanted = list(event_ids) or list(await self._letters.all(sink))
        if wanted and not dry_run:
            detail = {SINK: sink, EVENT_IDS: wanted[:MOST_LISTED], COUNT: len(wanted)}
            event = note_event(Action.REPLAY_EVENTS, author, self._clock.wall_ms(), detail)
            await self._notes.append(event, author.change_id)
            for start in range(0, len(wanted), CHUNK):
                await self._replays.ask(sink, wanted[start : start + CHUNK])
        return len(wanted)

    async def _dead(self, sink: str) -> Mapping[str, DeadLetter]:
        letters = await self._letters.all(sink)
        return dict(sorted(letters.items(), key=lambda item: (item[1].at, item[0])))


def chosen(known: Collection[str], sink: str | None) -> Collection[str]:
    """Return the names of sinks that a command is about: `sink`, or for None all.

    Raises BadInput if it is not known.
    """
    if sink is None:
        return known
    if sink not in known:
        problem = f"{fields.shown(sink)}: events.sinks has {', '.join(known) or 'none'}"
        raise BadInput("--sink", problem)
    return [sink]
