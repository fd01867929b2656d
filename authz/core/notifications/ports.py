"""Ports of the delivery of events: the interfaces that flows need and outer packages implement.

MUST marks an obligation of the implementation. A flow relies on it and cannot check it.
"""

from __future__ import annotations  # the types are for readers and checkers alone

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.core.audit import AuditEvent
    from authz.core.notifications.notification import Notification
    from authz.core.sightings import Sighting


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the delivery to one sink has come.

    cursor: the id of the last row of the trail that is done; empty before the first one. failing:
    the event that could not be delivered yet, or empty; then `since` is the time of its first try,
    in ms since the epoch, and `tries` their number. refused_since, refused_at: when the receiver
    refused this event for itself, first and last, in ms since the epoch; 0 if it did not. An outage
    starts them anew.
    """

    cursor: str
    failing: str = ""
    since: int = 0
    tries: int = 0
    refused_since: int = 0
    refused_at: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was given up. at: when, in ms since the epoch. problem: of the last try."""

    type: str
    kid: str
    at: int
    problem: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The response of a receiver. retry_after: seconds that it asks to wait; 0 if it does not."""

    status: int
    retry_after: int = 0


class Receiver(Protocol):
    """A place that gets events."""

    async def send(self, event: Notification) -> Answer:
        """Send an event and return the response, also an error.

        Raises Unavailable if there is no response.
        """
        ...


class DeliveryProgress(Protocol):
    """Remembers how far each sink has come, in the store. Methods raise Unavailable."""

    async def load(self, sink: str) -> Progress | None:
        """Return the progress, or None if none was saved.

        MUST raise Unavailable for one that cannot be read: a new beginning would lose events.
        """
        ...

    async def save(self, sink: str, progress: Progress) -> None:
        """Store the progress."""
        ...

    async def take_lease(self, instance: str, ms: int) -> bool:
        """Take or renew the lease of the delivery for `ms`. Return whether this process has it."""
        ...


class DeadLetters(Protocol):
    """The events that were given up, by sink. Methods raise Unavailable."""

    async def all(self, sink: str) -> Mapping[str, DeadLetter]:
        """Return the letters by the id of their event. One that cannot be read is left out."""
        ...

    async def put(self, sink: str, event_id: str, letter: DeadLetter) -> bool:
        """Store a letter. Return False, and store nothing, if there are too many."""
        ...

    async def remove(self, sink: str, event_id: str) -> None:
        """Remove a letter, if it is there."""
        ...


class Replays(Protocol):
    """The events that somebody wants delivered again, by sink. Methods raise Unavailable."""

    async def ask(self, sink: str, event_ids: list[str]) -> None:
        """Remember these events."""
        ...

    async def asked(self, sink: str) -> list[str]:
        """Return the events that wait for their delivery."""
        ...

    async def done(self, sink: str, event_id: str) -> None:
        """Forget an event."""
        ...


class SightingStore(Protocol):
    """The sightings that wait for administration. Methods raise Unavailable if the store fails."""

    async def waiting(self, count: int) -> list[tuple[str, Sighting | None]]:
        """Return the ids and the sightings of at most `count` entries, the oldest first.

        None for an entry that cannot be read.
        """
        ...

    async def add(self, one: Sighting) -> None:
        """Add a sighting behind those that wait."""
        ...

    async def settle(self, entry_id: str, event: AuditEvent | None) -> None:
        """Remove an entry and add the row of `event` to the trail; None: no row.

        MUST do both in one step, and neither if the entry is gone.
        """
        ...
