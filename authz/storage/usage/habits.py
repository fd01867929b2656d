"""StoredHabits: the habits of keys, their hours, and the anomalies that were found."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import redis.asyncio

from authz.core.errors import Unreadable
from authz.core.keys.text import KID_PATTERN
from authz.core.usage.anomalies.features import Feature, Gap
from authz.core.usage.anomalies.judging import Hour, callers
from authz.core.usage.anomalies.ports import KeyHour, Round
from authz.core.usage.anomalies.ranking import Anomaly, decoded, encoded
from authz.core.usage.anomalies.sightings import Seen, Sightings
from authz.core.usage.counts import Counts, Field, Level
from authz.storage import schema
from authz.storage.replies import at_one_moment, checked
from authz.storage.usage import rows
from authz.storage.usage.key_counts import commands, sums

KEPT: Final = 35 * 86_400  # seconds
MAX_A_DAY: Final = 20_000  # anomalies that are kept
HOURS: Final = 24
_PARTS: Final = 4  # of a caller


class StoredHabits:
    """A HabitStore over redis-py. Methods raise Unavailable if the store fails."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client
        self._base = schema.names_of(client).usage

    async def now_ms(self) -> int:
        """Implement HabitStore.now_ms."""
        seconds, microseconds = await checked(self._client.time())
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def take_lease(self, instance: str, ms: int) -> bool:
        """Implement HabitStore.take_lease: by a string with a time to live."""
        name = f"{self._base}judging"
        holder = await checked(self._client.set(name, instance, px=ms, nx=True, get=True))
        if holder == instance:
            await checked(self._client.set(name, instance, px=ms))
        return holder in {None, instance}

    async def read(self, kids: Sequence[str], hour: int) -> Sequence[KeyHour | None]:
        """Implement HabitStore.read: with five commands for each key."""
        hours = range(hour, hour + 1)
        groups: list[list[tuple[str, ...]]] = []
        for kid in kids:
            name = f"{self._base}{kid}"
            others = [("GET", f"{name}:habits"), ("HMGET", f"{name}:seen", "n", "a")]
            groups.append(others + commands(name, Level.HOUR, hours))
        found: list[KeyHour | None] = []
        for kid, replies in zip(kids, await at_one_moment(self._client, groups), strict=True):
            habits, seen, *counts = replies
            try:
                one = _hour(sums(Level.HOUR, hours, counts).values(), seen, hour)
            except Unreadable:
                found.append(None)
                continue
            found.append(KeyHour(kid, None if habits is None else rows.packed(habits), one))
        return found

    async def save(self, habits: Mapping[str, bytes], found: Sequence[Anomaly]) -> None:
        """Implement HabitStore.save, in one transaction.

        Anomalies of a day beyond MAX_A_DAY (20,000) are left out.
        """
        full = {
            day: await checked(self._client.hlen(f"{self._base}odd:{day}")) >= MAX_A_DAY
            for day in {one.hour // HOURS for one in found}
        }
        async with self._client.pipeline(transaction=True) as pipeline:
            for one in found:
                name = f"{self._base}odd:{one.hour // HOURS}"
                if not full[one.hour // HOURS]:
                    pipeline.hset(name, f"{one.kid}:{one.hour}", encoded(one.reasons))
                    pipeline.expire(name, KEPT)
            for kid, data in habits.items():
                pipeline.set(f"{self._base}{kid}:habits", data, ex=KEPT)
            await checked(pipeline.execute())

    async def finish(self, done: Round) -> None:
        """Implement HabitStore.finish."""
        gaps = [[*case, number] for case, number in done.gaps.items()]
        content = [done.hour, done.keys, done.anomalies, done.unreadable, gaps]
        await checked(self._client.hset(f"{self._base}judged", "latest", json.dumps(content)))

    async def latest(self) -> Round | None:
        """Implement AnomalyReader.latest. A round that cannot be read counts as none."""
        text = (await checked(self._client.hgetall(f"{self._base}judged"))).get("latest")
        try:
            hour, keys, anomalies, unreadable, gaps = json.loads(text or "")
            found = {(Feature(one), Gap(why)): int(number) for one, why, number in gaps}
            return Round(int(hour), int(keys), int(anomalies), int(unreadable), found)
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None

    async def anomalies(self, hours: range) -> Sequence[Anomaly]:
        """Implement AnomalyReader.anomalies."""
        if not hours:
            return []
        days = range(hours[0] // HOURS, hours[-1] // HOURS + 1)
        found = []
        for day in days:
            stored = await checked(self._client.hgetall(f"{self._base}odd:{day}"))
            for field, text in stored.items():
                one = _anomaly(field, text)
                if one is not None and one.hour in hours:
                    found.append(one)
        return found


def _hour(found: Iterable[Counts], seen: Sequence[str | None], hour: int) -> Hour:
    """Return the numbers and the callers of an hour. found: by route. Raises Unreadable."""
    requests = denied = errors = 0
    for counts in found:
        requests += counts.requests
        denied += counts[Field.DENIED]
        errors += counts[Field.CLIENT_ERROR] + counts[Field.SERVER_ERROR]
    if min(requests, denied, errors) < 0 or denied + errors > requests:
        raise Unreadable("an hour with more denials and errors than requests")
    if not requests:
        return Hour()
    networks, agents = map(_sightings, seen)
    return Hour(
        *(requests, denied, errors),
        callers(networks, hour, Feature.NETWORKS),
        callers(agents, hour, Feature.AGENTS),
    )


def _sightings(text: str | None) -> Sightings:
    """Return the callers of a field of commit_usage.lua. Raises Unreadable."""
    if text is None:
        return Sightings()
    full, *parts = rows.array("callers", text) or [0]
    names, numbers = parts[::_PARTS], [parts[at::_PARTS] for at in range(1, _PARTS)]
    is_right = all(isinstance(one, str) for one in names)
    is_right = is_right and all(isinstance(one, int) for column in numbers for one in column)
    if not (is_right and isinstance(full, int)) or len(parts) % _PARTS:
        raise Unreadable("callers: not the hours of callers")
    seen = map(Seen, *numbers)
    return Sightings(dict(zip(names, seen, strict=True)))  # type: ignore[arg-type]


def _anomaly(field: str, text: str) -> Anomaly | None:
    kid, _, hour = field.partition(":")
    if not (KID_PATTERN.fullmatch(kid) and hour.isascii() and hour.isdecimal()):
        return None
    try:
        return Anomaly(kid, int(hour), decoded(text))
    except ValueError:
        return None
