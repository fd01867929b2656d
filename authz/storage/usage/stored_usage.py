"""StoredUsage: reads the counts of usage, for administration."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable, Unreadable
from authz.core.usage.commit import Denial, Sight
from authz.core.usage.completeness import ProcessSeen
from authz.core.usage.counts import Counts, Level
from authz.core.usage.ports import DayFacts, KeyFacts
from authz.storage import schema
from authz.storage.refusals import refusal
from authz.storage.replies import at_one_moment
from authz.storage.usage import rows
from authz.storage.usage.key_counts import (
    OPEN,
    commands,
    named,
    route_name,
    sums,
    windows_of,
)
from authz.storage.usage.open_usage import open_usage

ALL: Final = "all"
MODELS: Final = "M"  # in the names of hashes with days by model


class StoredUsage:
    """A UsageReader and a DayReader over redis-py.

    All methods raise Unavailable if the store fails, and Unreadable for garbled data.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client
        self._base = schema.names_of(client).usage

    async def counts(
        self, kid: str, level: Level, slots: range
    ) -> Mapping[tuple[int, str], Counts]:
        """Implement UsageReader.counts: return the counts of a key by slot and route.

        The route is "" except by hours. Slots without counts are left out; empty for an unknown
        key.
        """
        name = f"{self._base}{kid}"
        [replies] = await at_one_moment(self._client, [commands(name, level, slots)])
        names = await self.routes() if level is Level.HOUR else {}
        return named(sums(level, slots, replies), level, names)

    async def totals(self, level: Level, slots: range) -> Mapping[tuple[int, str, str], Counts]:
        """Implement UsageReader.totals: return the counts of all requests by slot, route and code.

        Slots without counts are left out.
        """
        if level is Level.MONTH:
            fields = await self._hash(f"{ALL}:{level}")
        else:
            fields = await self._windows(ALL, level, slots)
        names = await self.routes()
        found = {}
        for field, text in fields.items():
            slot, _, rest = field.partition(".")
            route, _, code = rest.partition(".")
            if slot.isdecimal() and int(slot) in slots:
                found[int(slot), route_name(route, names), code] = rows.counts(field, text)
        return found

    async def facts(self, kid: str) -> KeyFacts:
        """Implement UsageReader.facts: return latest use, secrets, owners and denials of a key.

        All are empty for a key without usage. The latest use is that of any secret.
        """
        latest, secrets = None, {}
        denials: Sequence[Denial] = ()
        name = f"{self._base}{kid}"
        reads = [("HGETALL", name), ("GET", name + OPEN)]
        [[fields, text]] = await at_one_moment(self._client, [reads])
        opened = open_usage(text)
        for field, text in fields.items():
            if field == "last":
                latest = _sight(field, rows.array(field, text))
            elif field == "denied":
                denials = _denials(rows.array(field, text))
            elif field.startswith("s:"):
                *sight, number = rows.array(field, text)
                if not isinstance(number, int):
                    raise Unreadable(f"{field}: not a number of requests")
                secrets[field.removeprefix("s:")] = (_sight(field, sight), number)
        if opened.latest is not None:
            if not opened.secret:
                latest = max(opened.latest, latest or opened.latest, key=_time)
            else:
                known, before = secrets.get(opened.secret, (opened.latest, 0))
                newest = max(opened.latest, known, key=_time)
                secrets[opened.secret] = (newest, before + opened.requests)
        sights = [sight for sight, _ in secrets.values()] + ([latest] if latest else [])
        latest = max(sights, key=_time, default=None)
        return KeyFacts(latest, secrets, owners_of(fields), denials)

    async def days(self, kid: str, days: range) -> Mapping[int, DayFacts]:
        """Implement DayReader.days: return refusals by reason and the number of networks, by day.

        Days without requests of the key are left out; each other day has at least 1 network. With
        `kid` "" (all requests) only days with refusals are there, and networks is 0.
        """
        denials: dict[int, dict[str, int]] = {}
        networks: dict[int, int] = {}
        if kid:
            counted = await self.counts(kid, Level.DAY, days)
            networks = {day: 1 for day, _ in counted}  # only a larger number is stored
        for field, text in (await self._windows(kid or ALL, Level.DAY, days)).items():
            day, mark, reason = field.partition("!")
            if mark and rows.number(field, day) in days:
                denials.setdefault(int(day), {})[reason] = rows.number(field, text)
            elif field.endswith("n") and rows.number(field, field[:-1]) in days:
                networks[int(field[:-1])] = rows.number(field, text)
        return {
            day: DayFacts(denials.get(day, {}), networks.get(day, 0))
            for day in sorted({*denials, *networks})
        }

    async def models(self, kid: str, days: range) -> Mapping[tuple[int, str], Counts]:
        """Implement DayReader.models: return the counts by day and model."""
        found = {}
        for window in windows_of(Level.DAY, days):
            fields = await self._hash(f"{kid or ALL}:{MODELS}:{window}")
            for field, text in fields.items():
                day, _, model = field.partition(".")
                if rows.number(field, day) in days:
                    found[int(day), model] = rows.counts(field, text)
        return found

    async def processes(self) -> list[ProcessSeen]:
        """Return the processes of the gate whose entries came, the latest first."""
        found = []
        for process in await self._call("ZREVRANGE", f"{self._base}procs", 0, -1):
            fields = await self._hash(f"proc:{process}")
            number = {name: rows.number(name, text) for name, text in fields.items()}
            # Block 0 counts one entry from the start, because there is no charge id 0.
            blocks = {
                rows.number(name, name[1:]): count - (name == "b0")
                for name, count in number.items()
                if name[:1] == "b"
            }
            found.append(
                ProcessSeen(
                    process,
                    seen=number.get("seen", 0),
                    highest=number.get("highest", 0),
                    lost=number.get("lost", 0),
                    extra=number.get("extra", 0),
                    repeated=number.get("repeated", 0),
                    at=number.get("at", 0),
                    blocks=blocks,
                )
            )
        return found

    async def sums(self) -> Mapping[str, int]:
        """Return the sums over all time by name: entries, misdated, repeated, full.

        A sum that is still 0 is left out.
        """
        fields = await self._hash("sums")
        return {name: rows.number(name, text) for name, text in fields.items()}

    async def routes(self) -> Mapping[str, str]:
        """Return the names of routes by their numbers as text, such as `1`."""
        return {number: name for name, number in (await self._hash("routes")).items()}

    async def _windows(self, name: str, level: Level, slots: range) -> dict[str, str]:
        """Return the fields of all windows that have some of these slots, in one mapping.

        Fields of other slots in these windows are included.
        """
        found: dict[str, str] = {}
        for window in windows_of(level, slots):
            found |= await self._hash(f"{name}:{level}:{window}")
        return found

    async def _hash(self, name: str) -> dict[str, str]:
        found: dict[str, str] = await self._call("HGETALL", f"{self._base}{name}")
        return found

    async def _call(self, *words: Any) -> Any:
        try:
            return await self._client.execute_command(*words)
        except (exceptions.RedisError, OSError) as cause:
            raise Unavailable(f"the store cannot be used: {refusal(cause)}") from None


def owners_of(fields: Mapping[str, str]) -> Mapping[int, str]:
    """Return the owners of a key, as in KeyFacts, from its hash. Raises Unreadable."""
    found = {
        rows.number(field, field.removeprefix("about:")): text
        for field, text in fields.items()
        if field.startswith("about:")
    }
    return dict(sorted(found.items()))


def _sight(field: str, items: list[int | str]) -> Sight:
    if len(items) == 3:  # noqa: PLR2004  time, network, user agent
        at, network, agent = items
        if isinstance(at, int) and isinstance(network, str) and isinstance(agent, str):
            return Sight(at, network, agent)
    raise Unreadable(f"{field}: not the latest use")


def _denials(items: list[int | str]) -> tuple[Denial, ...]:
    """Return the denials of a row. Raises Unreadable."""
    kinds = tuple(Denial.__annotations__.values())
    rows_of = [items[start : start + len(kinds)] for start in range(0, len(items), len(kinds))]
    for row in rows_of:
        if tuple(map(type, row)) != kinds:
            raise Unreadable("denied: not the latest denials")
    return tuple(Denial(*row) for row in rows_of)  # type: ignore[arg-type]


def _time(sight: Sight) -> int:
    return sight.at
