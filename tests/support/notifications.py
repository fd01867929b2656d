"""Twins and rigs for the delivery of events."""

from collections.abc import Callable

from authz.core.errors import Unavailable
from authz.core.notifications.notification import Notification
from authz.core.notifications.ports import Answer, DeadLetter, Progress
from authz.core.records import KeyRecord
from authz.flows.notifications.counts import EventCounts
from authz.flows.notifications.delivery import Delivery, Places
from authz.flows.notifications.derivation import Derivation
from authz.storage.trail import entry_of
from tests.support.fakes import FakeClock
from tests.support.trail.memory_rows import KEYS, MemoryRows, Writer

OK = Answer(200)


class MemoryNotifications:
    """DeliveryProgress, DeadLetters and Replays in memory."""

    def __init__(self) -> None:
        self.progress: dict[str, Progress] = {}
        self.letters: dict[str, dict[str, DeadLetter]] = {}
        self.wanted: dict[str, dict[str, str]] = {}
        self.leader = ""
        self.room = 10_000

    async def load(self, sink: str) -> Progress | None:
        """Implement DeliveryProgress.load."""
        return self.progress.get(sink)

    async def save(self, sink: str, progress: Progress) -> None:
        """Implement DeliveryProgress.save."""
        self.progress[sink] = progress

    async def take_lease(self, instance: str, ms: int) -> bool:
        """Implement DeliveryProgress.take_lease; the lease has no end."""
        self.leader = self.leader or instance
        return self.leader == instance

    async def all(self, sink: str) -> dict[str, DeadLetter]:
        """Implement DeadLetters.all."""
        return dict(self.letters.get(sink, {}))

    async def put(self, sink: str, event_id: str, letter: DeadLetter) -> bool:
        """Implement DeadLetters.put."""
        if len(self.letters.setdefault(sink, {})) >= self.room:
            return False
        self.letters[sink][event_id] = letter
        return True

    async def remove(self, sink: str, event_id: str) -> None:
        """Implement DeadLetters.remove."""
        self.letters.get(sink, {}).pop(event_id, None)

    async def ask(self, sink: str, event_ids: list[str]) -> None:
        """Implement Replays.ask."""
        self.wanted.setdefault(sink, {}).update(dict.fromkeys(event_ids, "1"))

    async def asked(self, sink: str) -> list[str]:
        """Implement Replays.asked."""
        return list(self.wanted.get(sink, {}))

    async def done(self, sink: str, event_id: str) -> None:
        """Implement Replays.done."""
        self.wanted.get(sink, {}).pop(event_id, None)


class Records:
    """A RecordReader with some records."""

    def __init__(self, *records: KeyRecord) -> None:
        self.records = {one.kid: one for one in records}

    async def read(self, kids: list[str]) -> list[KeyRecord | None]:
        """Implement RecordReader.read."""
        return [self.records.get(kid) for kid in kids]


class DeliveryRig:
    """A delivery over twins. answer: of the receiver; None: it does not answer."""

    def __init__(self, *records: KeyRecord) -> None:
        self.rows = MemoryRows()
        self.writer = Writer(self.rows)
        self.stored = MemoryNotifications()
        self.clock = FakeClock()
        self.answer: Callable[[Notification], Answer | None] = lambda _: OK
        self.tried: list[str] = []
        self.delivered: list[Notification] = []
        self.wants: Callable[[str], bool] = lambda _: True
        self.derivation = Derivation(self.rows, KEYS, Records(*records), entry_of)
        self.restart()

    def restart(self) -> None:
        """Begin again with a new Delivery, as a new process does."""
        stored = self.stored
        places = Places(self.rows, self.derivation, stored, stored, stored)
        self.delivery = Delivery(
            "sink", self._wants, self, places, self.clock, counts=EventCounts()
        )

    def _wants(self, kind: str) -> bool:
        return self.wants(kind)

    async def send(self, event: Notification) -> Answer:
        """Implement Receiver.send."""
        self.tried.append(event.id)
        answer = self.answer(event)
        if answer is None:
            raise Unavailable("no response")
        if answer.status == OK.status:
            self.delivered.append(event)
        return answer

    async def until_idle(self, rounds: int = 100) -> None:
        """Deliver until nothing is left. Pauses pass on the clock."""
        for _ in range(rounds):
            pause = await self.delivery.deliver()
            self.clock.advance(pause)
            if not self.stored.progress["sink"].failing and pause:
                return
        raise AssertionError("the delivery goes on for ever")
