"""Freezing: the store with one partition takes no change any more, from whatever version.

Each of these names gets a list in its place, and no data is a list. So what uses the name fails
before it writes anything:

    seq                     every change and deletion of a key; heartbeats, so trust ends
    audit                   rows about the trail, which refunds, erasures of usage and changes of
                            allowed networks write first; delivery of events
    events:seen             sightings move to the audit trail, and arrive from sidecars
    applied, events:...     what files declared, deliveries, dead letters, ended keys
    signing, abuse:...      signing keys, blocked addresses
    use:seen:<hour>         every commit of usage, before it counts
    use:judged, use:odd:... the judgement of hours
    limit:<group>           every request with a limit, for each group that a key may have

These go on, without harm: rewrite_record and rename_members do not change what a record says.
request:<hash> is a seed of a change that is then refused. ended:<hash> and issued are copied once
more after the move.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import redis.asyncio

from authz.core.errors import Conflict
from authz.storage import schema
from authz.storage.essential import ALLOW_OOM
from authz.storage.moves import FROZEN
from authz.storage.replies import checked
from authz.storage.resharding.lease import TAKEN_OVER
from authz.storage.resharding.name_scan import names_from
from authz.storage.scripts import script

HOUR_MS: Final = 3_600_000
HOURS: Final = 24
DAYS: Final = 31
KEPT_MS: Final = DAYS * HOURS * HOUR_MS  # for which the lists stay after the move
AT_ONCE: Final = 2000  # names in one step, apart from those that are frozen together


class Freezing:
    """Freezes and thaws the old store, in the name of a run that has its lease."""

    def __init__(self, client: redis.asyncio.Redis, run: str, partitions: int) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._run = run
        self._text = FROZEN.format(partitions)
        self._freeze = client.register_script(ALLOW_OOM + script("freeze"))
        self._thaw = client.register_script(ALLOW_OOM + script("thaw"))
        self._remove = client.register_script(ALLOW_OOM + script("remove_moved"))

    async def freeze(self, of_events: Sequence[str]) -> None:
        """Freeze the store in one step, apart from limits. It can be repeated.

        of_events: names of sinks, dead letters and replays, without their common beginning.
        Raises Conflict if the lease is lost, Unavailable.
        """
        now = int((await checked(self._client.time()))[0]) * 1000
        names = [self._names.beginning + name for name in of_events]
        await self._set_aside([*self._singles(now), *names])

    async def freeze_limits(self, groups: Iterable[str]) -> None:
        """Freeze the limits of these keys and pools. Raises as `freeze`."""
        names = list(map(self._names.limit, groups))
        for start in range(0, len(names), AT_ONCE):
            await self._set_aside(names[start : start + AT_ONCE])

    async def thaw(self) -> None:
        """Make the store as it was. It can be repeated. Raises as `freeze`."""
        names = self._names
        now = int((await checked(self._client.time()))[0]) * 1000
        singles = self._singles(now)
        found = await self._found(f"{schema.ASIDE}*")
        aside = [names.beginning + name.removeprefix(schema.ASIDE) for name in found]
        # Lists alone, where nothing was. `seq` comes last: until then no change is taken.
        patterns = ("limit:*", "events:*", "use:seen:*", "use:odd:*")
        lists = [
            names.beginning + name
            for pattern in patterns
            for name in await self._found(pattern, "LIST")
        ]
        all_names = list(dict.fromkeys([*aside, *lists, *singles]))
        all_names.remove(names.seq)
        for start in range(0, len(all_names), AT_ONCE):
            await self._put_back(all_names[start : start + AT_ONCE])
        await self._put_back([names.seq])

    async def remove(self) -> None:
        """Remove what was moved. The lists stay for KEPT_MS. Raises as `freeze`."""
        names = self._names
        kept = {names.meta, names.resharding, names.resharder}
        for name in (names.audit, names.log, names.keys):  # long ones, in the background
            await self._remove_all([name])
        found = [names.beginning + name for name in await self._found("*")]
        wanted = [name for name in found if name not in kept]
        for start in range(0, len(wanted), AT_ONCE):
            await self._remove_all(wanted[start : start + AT_ONCE])

    def _singles(self, now: int) -> list[str]:
        names, hour = self._names, now // HOUR_MS
        hours = range(hour - 3, hour + DAYS * HOURS)
        days = range(hour // HOURS - 2, hour // HOURS + DAYS)
        return [
            *(names.seq, names.audit, names.seen, names.applied, names.signing),
            *(names.deliveries, names.leaked, names.rotated, names.ruled),
            *(names.blocked, names.allowed, names.abuse_version, f"{names.usage}judged"),
            *(f"{names.usage}seen:{at}" for at in hours),
            *(f"{names.usage}odd:{day}" for day in days),
        ]

    async def _set_aside(self, names: Sequence[str]) -> None:
        aside = [self._names.aside(name) for name in names]
        keys = [self._names.resharder, *names]
        await self._done(self._freeze(keys=keys, args=[self._run, self._text, *aside]))

    async def _put_back(self, names: Sequence[str]) -> None:
        aside = [self._names.aside(name) for name in names]
        await self._done(self._thaw(keys=[self._names.resharder, *names], args=[self._run, *aside]))

    async def _remove_all(self, names: Sequence[str]) -> None:
        keys = [self._names.resharder, *names]
        await self._done(self._remove(keys=keys, args=[self._run, KEPT_MS]))

    async def _done(self, answer: Any) -> None:
        if not await checked(answer):
            raise Conflict(TAKEN_OVER)

    async def _found(self, pattern: str, kind: str | None = None) -> list[str]:
        """Return the names that match, without their common beginning."""
        start = self._names.beginning
        found: dict[str, None] = {}
        async for page in names_from(self._client, start, pattern, kind):
            found |= dict.fromkeys(name.removeprefix(start) for name in page)
        return list(found)
