"""Delivery: brings the events of the audit trail to one receiver, at least once and in order."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from authz.core.errors import Unavailable
from authz.core.notifications.notification import Notification, partition_of, row_of
from authz.core.notifications.ports import (
    Answer,
    DeadLetter,
    DeadLetters,
    DeliveryProgress,
    Progress,
    Receiver,
    Replays,
)
from authz.core.ports import Clock
from authz.core.trail.ports import TrailStore
from authz.core.trail.rows import Row, position
from authz.flows.notifications.counts import EventCounts, Sent
from authz.flows.notifications.derivation import Derivation

BATCH: Final = 100  # rows in one read
REPLAYED: Final = 10  # events that are delivered again between two batches
POLL: Final = 1.0  # seconds between two looks for new rows
PATIENCE_MS: Final = 24 * 3_600_000
REFUSAL_MS: Final = 10 * 60_000
OUTAGE_MS: Final = 3_600_000  # without a refusal
FIRST_PAUSE: Final = 2.0  # seconds
MAX_PAUSE: Final = 900.0
MAX_PROBLEM: Final = 200  # characters
_OK: Final = range(200, 300)
_ERRORS: Final = range(400, 500)
# Errors that are about the receiver or its configuration, and not about one event.
_PASSING: Final = frozenset({401, 403, 404, 407, 408, 421, 425, 429})

log = logging.getLogger("authz.events")


@dataclass(frozen=True, slots=True)
class Places:
    """The stores of a delivery."""

    rows: TrailStore
    derivation: Derivation
    progress: DeliveryProgress
    letters: DeadLetters
    replays: Replays


class Delivery:
    """Delivers to one sink. wants: whether it gets events of a type. partition: of the trail.

    A new sink gets the events from then on. While an event cannot be delivered, the later ones
    wait. It is tried again for 24 h; one that the receiver refuses for itself (such as with 400 or
    422) for 10 minutes from the first of these refusals, whatever fails in between. An hour without
    a refusal begins them anew. Then it becomes a dead letter, and the delivery goes on.
    """

    def __init__(
        self,
        sink: str,
        wants: Callable[[str], bool],
        receiver: Receiver,
        places: Places,
        clock: Clock,
        *,
        counts: EventCounts,
        partition: int = 0,
    ) -> None:
        self._counts = counts
        self._partition = partition
        self.sink = sink
        self._wants = wants
        self._receiver = receiver
        self._places = places
        self._clock = clock

    async def deliver(self) -> float:
        """Deliver a batch of events, and return the seconds until the next try; 0: at once.

        The progress is saved after each event, so a repetition has the same id. Raises Unavailable
        if the store fails.
        """
        waiting = await self._replay()
        progress = await self._places.progress.load(self.sink)
        if progress is None:
            return await self._begin()
        rows = await self._places.rows.after(progress.cursor, BATCH)
        if not rows:
            await self._heed_loss(progress)
            return 0.0 if waiting else POLL
        for row, event in zip(rows, await self._places.derivation.events(rows), strict=True):
            if event is not None and self._wants(event.type):
                self._counts.waits(self.sink, self._partition, event.at)
                progress, pause = await self._one(event, progress)
                if pause:
                    return pause
                progress = Progress(row.id)
                await self._places.progress.save(self.sink, progress)
        self._counts.waits(self.sink, self._partition, None)
        await self._places.progress.save(self.sink, Progress(rows[-1].id))
        return 0.0

    async def _begin(self) -> float:
        last = await self._places.rows.before("", 1)
        await self._places.progress.save(self.sink, Progress(last[0].id if last else ""))
        return POLL

    async def _heed_loss(self, progress: Progress) -> None:
        """Set the cursor back if a failover has lost the rows before it."""
        last = await self._places.rows.before("", 1)
        end = last[0].id if last else ""
        if progress.cursor and (not end or position(end) < position(progress.cursor)):
            log.warning("%s: the store lost rows of the trail after %s", self.sink, end or "none")
            await self._places.progress.save(self.sink, Progress(end))

    async def _one(self, event: Notification, progress: Progress) -> tuple[Progress, float]:
        """Return the progress, and a pause if the event is to be tried again; else 0."""
        answer, problem = await self._sent(event)
        if answer is not None and answer.status in _OK:
            self._counts.count(Sent.DELIVERED)
            return progress, 0.0
        now = self._clock.wall_ms()
        if progress.failing != event.id:
            progress = Progress(progress.cursor, failing=event.id, since=now)
        elif progress.since > now:  # the clock was ahead: the event would be tried until then
            progress = replace(progress, since=now)
        is_over = now - progress.since >= PATIENCE_MS
        if answer is not None and _is_refusal(answer):
            progress = _refused(progress, now)
            is_over = is_over or now - progress.refused_since >= REFUSAL_MS
        if is_over:
            letter = DeadLetter(event.type, event.kid, now, problem)
            if await self._places.letters.put(self.sink, event.id, letter):
                log.warning("%s: %s was given up: %s", self.sink, event.id, problem)
                self._counts.count(Sent.DEAD)
                return progress, 0.0
        if progress.tries == 0:
            log.warning("%s: %s is tried again: %s", self.sink, event.id, problem)
        self._counts.count(Sent.FAILED)
        pause = min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(progress.tries, 20))
        progress = replace(progress, tries=progress.tries + 1)
        await self._places.progress.save(self.sink, progress)
        return progress, min(MAX_PAUSE, max(pause, answer.retry_after if answer else 0))

    async def _sent(self, event: Notification) -> tuple[Answer | None, str]:
        try:
            answer = await self._receiver.send(event)
        except Unavailable as cause:
            return None, str(cause)[:MAX_PROBLEM]
        return answer, f"the receiver answered {answer.status}"

    async def _replay(self) -> int:
        """Deliver some events that somebody asked for, each once, the oldest first.

        A failure makes a dead letter, if there is room. Return how many still wait: new events come
        in between, however many were asked for.
        """
        asked = sorted(await self._places.replays.asked(self.sink), key=_age)
        for wanted in asked[:REPLAYED]:
            row = await self._places.derivation.row(wanted)
            if row is None:
                log.warning("%s: %s is not in the audit trail any more", self.sink, wanted)
                await self._places.letters.remove(self.sink, wanted)  # it would be there for ever
            else:
                await self._again(wanted, row)
            await self._places.replays.done(self.sink, wanted)
        return max(0, len(asked) - REPLAYED)

    async def _again(self, wanted: str, row: Row) -> None:
        (event,) = await self._places.derivation.events([row])
        if event is None:  # for example a row of a newer version
            log.warning("%s: %s makes no event here", self.sink, wanted)
            return
        answer, problem = await self._sent(event)
        if answer is not None and answer.status in _OK:
            await self._places.letters.remove(self.sink, event.id)
            return
        letter = DeadLetter(event.type, event.kid, self._clock.wall_ms(), problem)
        is_kept = await self._places.letters.put(self.sink, event.id, letter)
        room = "" if is_kept else "; there is no room for a new dead letter"
        log.warning("%s: %s was not delivered again: %s%s", self.sink, event.id, problem, room)


def _is_refusal(answer: Answer) -> bool:
    """Return whether the receiver refuses an event for itself."""
    return answer.status in _ERRORS and answer.status not in _PASSING


def _refused(progress: Progress, now: int) -> Progress:
    """Return the progress after a refusal. now: in ms since the epoch.

    A receiver that starts again after an outage may first refuse all, so the count begins anew.
    """
    since = progress.refused_since
    is_first = since > now or now - progress.refused_at >= OUTAGE_MS
    return replace(progress, refused_since=now if is_first else since, refused_at=now)


def _age(event_id: str) -> tuple[int, int]:
    """Return the place of an event in its trail; (0, 0) for a text that is not its id."""
    try:
        return position(row_of(partition_of(event_id)[1]))
    except ValueError:
        return 0, 0
