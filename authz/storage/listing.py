"""Reading the indexes of keys and the audit trail.

The cost of a read is proportional to its result. Nothing here scans the store (KEYS, SCAN).
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, cast

import redis.asyncio
from redis import exceptions

from authz.core.audit import AuditEntry
from authz.core.errors import Frozen, Unavailable, Unreadable
from authz.core.records import KeyRecord
from authz.core.selector import Position
from authz.storage import encoding, schema, stored_records
from authz.storage.compact_entries import unpacked
from authz.storage.index_members import kid_of, short_member
from authz.storage.moves import DONE, move_in
from authz.storage.refusals import refusal
from authz.storage.replies import checked, whole
from authz.storage.scripts import script
from authz.storage.seals import StoreSeals, seals_of

MAX_ATTEMPTS: Final = 10
# If a change was interrupted, its audit entry may be written later, after those of other changes.
SEARCHED: Final = 1000  # entries
READ_FIELDS: Final = script("read_fields")
READ_RECORDS: Final = script("read_records")
READ_AT_ONCE: Final = 100  # records; the store does nothing else meanwhile
FEW: Final = 10  # records that commands read as cheaply


class StoredIndex:
    """A KeyIndex on the sorted sets that every change updates."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._seals = seals_of(client)
        self._may_run = True  # False after the store refused a script
        self._is_short = True  # whether the last member that was found had the short form

    async def kids(
        self,
        client_id: str | None,
        after: Position | None,
        count: int,
        *,
        is_newest_first: bool = False,
    ) -> Sequence[Position]:
        """Return up to `count` positions after `after`, by creation time, then by kid.

        is_newest_first: the other way round. Empty after the last one. client_id: of this client
        only; None: of all. after None: from the first. Raises Unavailable if the store fails or
        ranks keep moving, Frozen if a move to partitions has removed the list. It reads by rank,
        because a range by score would have to skip keys of equal time.
        """
        name = self._names.keys if client_id is None else self._names.client(client_id)
        if is_newest_first:
            found = list(reversed(await self._before(name, after, count)))
        else:
            found = list(await self._after(name, after, count))
        if not found:
            await self._refuse_moved()
        return found

    async def _after(self, name: str, after: Position | None, count: int) -> Sequence[Position]:
        """Return the first `count` positions after `after`; None: the oldest."""
        if after is None:
            return await self._range(name, 0, count - 1)
        for _ in range(MAX_ATTEMPTS):
            rank = await self._rank(name, after.kid)
            if rank is None:  # the key was deleted, or is another client's by now
                rank = await self._rank_before(name, after)
                found = await self._range(name, max(rank, 0), rank + count + 1)
                if all(place > after for place in found[rank >= 0 :]):
                    return found[rank >= 0 :][:count]
                continue
            found = await self._range(name, rank, rank + count)
            # Else a change moved the ranks between the two reads.
            if found and found[0].kid == after.kid:
                return found[1:]
        raise Unavailable("the list changes too fast to be read; try again")

    async def _before(self, name: str, end: Position | None, count: int) -> Sequence[Position]:
        """Return the last `count` positions before `end`, the oldest first; None: the newest."""
        if end is None:
            return await self._range(name, -count, -1)
        for _ in range(MAX_ATTEMPTS):
            rank = await self._rank(name, end.kid)
            if rank is None:
                last = await self._rank_before(name, end)
                found = await self._range(name, max(last - count + 1, 0), last) if last >= 0 else []
                if all(place < end for place in found):
                    return found
                continue
            found = await self._range(name, max(rank - count, 0), rank)
            if found and found[-1].kid == end.kid:
                return found[:-1]
        raise Unavailable("the list changes too fast to be read; try again")

    async def _refuse_moved(self, *, lacks: bool = True) -> None:
        """Raise Frozen if something is lacking that the store's partitions have since a move.

        A move puts its signpost before it removes anything. lacks: whether something is lacking.
        The store is asked in any case.
        """
        if self._names.partitions > 1:
            return
        try:
            move = move_in(await checked(self._client.hgetall(self._names.meta)))
        except Frozen:
            return  # authz:meta of another type is damage, and no move: the rest can be read
        if lacks and move is not None and move.is_done:
            raise Frozen(DONE.format(move.count))

    async def newest(self, count: int) -> list[str]:
        """Return the kids of the newest `count` keys, the oldest of them first. Raises Unavailable.

        Ids are returned as they are stored.
        """
        return [place.kid for place in await self._range(self._names.keys, -count, -1)]

    async def sample(self, count: int) -> list[str]:
        """Return the kids of `count` random keys, of all if there are fewer. Raises Unavailable."""
        found = await checked(self._client.zrandmember(self._names.keys, count))
        return list(map(kid_of, found or []))

    async def _rank(self, name: str, kid: str) -> int | None:
        """Return the rank of a key in an index, in either form of its member, or None."""
        for is_short in (self._is_short, not self._is_short):
            member = short_member(kid) if is_short else kid
            rank = await checked(self._client.zrank(name, member))
            if rank is not None:
                self._is_short = is_short
                return int(rank)
        return None

    async def _rank_before(self, name: str, after: Position) -> int:
        """Return the rank of the last key before `after`, or -1. Takes a step for each halving."""
        low, high = 0, int(await checked(self._client.zcard(name)))
        while low < high:
            middle = (low + high) // 2
            found = await self._range(name, middle, middle)
            if found and found[0] <= after:
                low = middle + 1
            else:
                high = middle
        return low - 1

    async def _range(self, name: str, first: int, last: int) -> list[Position]:
        found = await checked(self._client.zrange(name, first, last, withscores=True))
        return [Position(whole(score), kid_of(member)) for member, score in found]

    async def read(self, kids: Sequence[str]) -> Sequence[KeyRecord | Unreadable | None]:
        """Return for each kid the record, None if it is absent, or an Unreadable with the cause.

        The Unreadable is returned, not raised. Takes one round trip for each READ_AT_ONCE (100)
        kids. A script of the store reads more than a FEW (10), which costs us a third of a command
        for each key; a user without the right to run it gets them by commands. Raises Unavailable
        if the store cannot be used. Raises Frozen if a record is absent and the store was moved to
        partitions.
        """
        found: list[KeyRecord | Unreadable | None] = []
        for start in range(0, len(kids), READ_AT_ONCE):
            part = kids[start : start + READ_AT_ONCE]
            replies = zip(part, await self._records(part), strict=True)
            found += [_record(kid, reply, self._seals) for kid, reply in replies]
        # Asked also if none is absent: else the time tells another tenant's key from an absent one.
        await self._refuse_moved(lacks=any(record is None for record in found))
        return found

    async def _records(self, kids: Sequence[str]) -> Sequence[Any]:
        """Return for each kid its stored record for `fields_of`, or the store's error."""
        rows = await self._by_script(READ_RECORDS, kids) if len(kids) > FEW else None
        if rows is not None:
            return [_mapping(row) if isinstance(row, list) else row for row in rows]
        return await stored_records.read(self._client, kids)

    async def texts(
        self, kids: Sequence[str], fields: Sequence[str]
    ) -> Sequence[Sequence[str | None]]:
        """Return for each kid the stored texts of these fields, in order; None where there is none.

        Takes one round trip. A script of the store reads them, which is far cheaper than a command
        for each key; a user without the right to run it gets them by commands. Raises Unavailable
        if the store cannot be used.
        """
        if not kids:
            return []
        found = await self._by_script(READ_FIELDS, kids, fields)
        if found is None:
            found = await stored_records.read(self._client, kids)
        return [_texts(kid, row, fields) for kid, row in zip(kids, found, strict=True)]

    async def _by_script(
        self, text: str, kids: Sequence[str], fields: Sequence[str] = ()
    ) -> Sequence[Any] | None:
        """Return the reply of a script about these keys; None if our user may not run scripts.

        Raises Unavailable.
        """
        if not self._may_run:
            return None
        ask: Callable[..., Awaitable[Any]] = self._client.evalsha_ro
        call = partial(ask, _sha(text), len(kids), *map(self._names.key, kids), *fields)
        for _ in range(2):
            try:
                return cast("Sequence[Any]", await call())
            except exceptions.NoScriptError:
                await checked(self._client.script_load(text))
            except exceptions.NoPermissionError:
                self._may_run = False
                return None
            except (exceptions.RedisError, OSError) as cause:
                raise Unavailable(f"the store cannot be used: {refusal(cause)}") from None
        raise Unavailable("the store lost a script twice; try again")


class StoredTrail:
    """An AuditTrail on the audit stream.

    The id of an entry is the version that the change made, or a later one if it was written late.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def entry(self, kid: str, version: int) -> AuditEntry | None:
        """Return the audit entry of the change that gave `kid` this version, or None.

        An entry written late costs a second XRANGE, over the next SEARCHED entries. Raises
        Unavailable, and Unreadable for a garbled entry.
        """
        first = f"{version}-0"
        found = await checked(self._client.xrange(self._names.audit, first, first))
        if not found:
            found = await checked(
                self._client.xrange(self._names.audit, first, "+", count=SEARCHED)
            )
        rows = (unpacked(row) for _, row in found if row.get("kid") == kid)
        entries = (_entry(kid, version, row) for row in rows)
        return next((entry for entry in entries if entry.base_version < version), None)


@cache
def _sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _mapping(row: Sequence[str]) -> dict[str, str]:
    parts = iter(row)
    return dict(zip(parts, parts, strict=True))


def _texts(kid: str, row: Any, names: Sequence[str]) -> Sequence[str | None]:
    """Return the texts of these fields. row: the texts, or the stored record, or an error."""
    if isinstance(row, list) and row:
        return row
    try:
        found = {} if isinstance(row, Exception) else stored_records.fields_of(kid, row)
    except Unreadable:
        found = {}
    return [found.get(name) for name in names]


def _record(kid: str, reply: Any, seals: StoreSeals | None) -> KeyRecord | Unreadable | None:
    if isinstance(reply, exceptions.RedisError):
        return Unreadable(f"record {kid}: {refusal(reply)}")
    try:
        found = stored_records.fields_of(kid, reply)
        if found and seals is not None:
            seals.check(kid, found)
        return encoding.decode(kid, found, keeps_unknown=True) if found else None
    except Unreadable as cause:
        return cause


def _entry(kid: str, version: int, found: Mapping[str, str]) -> AuditEntry:
    try:
        return AuditEntry(version, *encoding.decode_event(found))
    except Unreadable as cause:
        raise Unreadable(f"audit entry of {kid} at version {version}: {cause}") from None
