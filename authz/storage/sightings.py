"""Sightings in the store: sidecars add them to a stream, administration moves them to the trail."""

from typing import Any, Final

import redis.asyncio

from authz.core.audit import AuditEvent
from authz.core.ports import Clock
from authz.core.sightings import Sighting, Sightings, sighting
from authz.storage import encoding, schema
from authz.storage.essential import EssentialWrites
from authz.storage.link import Link
from authz.storage.marks import marks_of, with_mark
from authz.storage.replies import checked
from authz.storage.trail import ADD_ROW

MAX_WAITING: Final = 10_000  # entries, if no `authz admin` runs; the oldest are lost then


class SightingSender:
    """Sends the sightings of a sidecar on its link."""

    def __init__(self, sightings: Sightings, names: schema.Names, clock: Clock) -> None:
        self._sightings = sightings
        self._name = names.seen
        self._wall_ms = clock.wall_ms
        self._writes = EssentialWrites()

    def send(self, link: Link) -> None:
        """Send what is due, and return at once. After a failure it is sent again later.

        If only the reply was lost, it is counted twice.
        """
        for one in self._sightings.take(self._wall_ms()):

            def on_reply(reply: Any, one: Sighting = one) -> None:
                if isinstance(reply, Exception):
                    self._sightings.put_back(one)

            texts = [text for pair in one.fields().items() for text in pair]
            most = ("MAXLEN", "~", str(MAX_WAITING), "*")
            self._writes.send(link, on_reply, "XADD", self._name, *most, *texts)


class StoredSightings:
    """A SightingStore over redis-py. Methods raise Unavailable if the store fails."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._marks = marks_of(client)
        self._move = client.register_script(ADD_ROW)

    async def waiting(self, count: int) -> list[tuple[str, Sighting | None]]:
        """Implement SightingStore.waiting."""
        found = await checked(self._client.xrange(self._names.seen, count=count))
        return [(entry_id, sighting(fields)) for entry_id, fields in found]

    async def add(self, one: Sighting) -> None:
        """Implement SightingNotes.add."""
        fields: dict[Any, Any] = dict(one.fields())
        await checked(self._client.xadd(self._names.seen, fields, maxlen=MAX_WAITING))

    async def settle(self, entry_id: str, event: AuditEvent | None) -> None:
        """Implement SightingStore.settle: by one script, so an entry makes one row."""
        if event is None:
            await checked(self._client.xdel(self._names.seen, entry_id))
            return
        fields = encoding.encode_event(event, f"seen-{entry_id}", 0)
        marked = {"kid": "", **with_mark(self._marks, "", fields)}
        args = [entry_id, *(text for pair in marked.items() for text in pair)]
        await checked(self._move(keys=[self._names.audit, self._names.seen], args=args))
