"""StoredNotifications: progress, dead letters and replays of the delivery of events."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import redis.asyncio

from authz.core.errors import Unavailable
from authz.core.notifications.ports import DeadLetter, Progress
from authz.core.trail.rows import position
from authz.storage import schema
from authz.storage.replies import checked

MAX_LETTERS: Final = 10_000  # of one sink


class StoredNotifications:
    """A DeliveryProgress over redis-py. Methods raise Unavailable if the store fails."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def load(self, sink: str) -> Progress | None:
        """Implement DeliveryProgress.load."""
        name = self._names.sink(sink)
        found = await checked(self._client.hgetall(name))
        if not found:
            return None
        try:
            if found["cursor"]:
                position(found["cursor"])
            since, tries = int(found["since"]), int(found["tries"])
            progress = Progress(found["cursor"], found["failing"], since, tries)
            # An earlier build leaves the refusals of an earlier event as they are.
            refused, first, last = found.get("refused", " 0 0").rsplit(" ", 2)
            if refused != progress.failing:
                return progress
            return replace(progress, refused_since=int(first), refused_at=int(last))
        except (KeyError, ValueError):
            raise Unavailable(f"{name} cannot be read; without it the sink begins anew") from None

    async def save(self, sink: str, progress: Progress) -> None:
        """Implement DeliveryProgress.save."""
        fields: dict[Any, Any] = {
            "cursor": progress.cursor,
            "failing": progress.failing,
            "since": str(progress.since),
            "tries": str(progress.tries),
            "refused": f"{progress.failing} {progress.refused_since} {progress.refused_at}",
        }
        await checked(self._client.hset(self._names.sink(sink), mapping=fields))

    async def take_lease(self, instance: str, ms: int) -> bool:
        """Implement DeliveryProgress.take_lease: by a string with a time to live."""
        name = self._names.leader
        holder = await checked(self._client.set(name, instance, px=ms, nx=True, get=True))
        if holder == instance:
            await checked(self._client.set(name, instance, px=ms))
        return holder in {None, instance}


class StoredLetters:
    """DeadLetters over redis-py: one hash for each sink."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def all(self, sink: str) -> Mapping[str, DeadLetter]:
        """Implement DeadLetters.all."""
        found = await checked(self._client.hgetall(self._names.dead(sink)))
        letters = {event_id: _letter(text) for event_id, text in found.items()}
        return {event_id: one for event_id, one in letters.items() if one is not None}

    async def put(self, sink: str, event_id: str, letter: DeadLetter) -> bool:
        """Implement DeadLetters.put: False if there are MAX_LETTERS (10,000) already."""
        name = self._names.dead(sink)
        if await checked(self._client.hlen(name)) >= MAX_LETTERS:
            return False
        text = json.dumps([letter.type, letter.kid, letter.at, letter.problem])
        await checked(self._client.hset(name, event_id, text))
        return True

    async def remove(self, sink: str, event_id: str) -> None:
        """Implement DeadLetters.remove."""
        await checked(self._client.hdel(self._names.dead(sink), event_id))


class StoredReplays:
    """Replays over redis-py: one hash for each sink."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def ask(self, sink: str, event_ids: list[str]) -> None:
        """Implement Replays.ask."""
        mapping: dict[Any, Any] = dict.fromkeys(event_ids, "1")
        if mapping:
            await checked(self._client.hset(self._names.again(sink), mapping=mapping))

    async def asked(self, sink: str) -> list[str]:
        """Implement Replays.asked."""
        return list(await checked(self._client.hgetall(self._names.again(sink))))

    async def done(self, sink: str, event_id: str) -> None:
        """Implement Replays.done."""
        await checked(self._client.hdel(self._names.again(sink), event_id))


def _letter(text: str) -> DeadLetter | None:
    try:
        kind, kid, at, problem = json.loads(text)
        return DeadLetter(str(kind), str(kid), int(at), str(problem))
    except (ValueError, TypeError, RecursionError):
        return None
