"""Backup: all keys of a store in one sealed file, as they were at one change.

Written: authz:meta, every record with its version, the aliases of imported keys, and the audit
trail. The indexes follow from the records. Limit counters, the log of recent changes and the
registry of sidecars are left out.

The store is not stopped meanwhile. Records that change while the others are read are read again,
from the log of changes, until one transaction shows that no further change was made. A record may
therefore appear several times in the file; the last one counts.

A name whose value has another type than we gave it does not end the backup. A record is then
written as a damaged one, so that its key stays undecided after a restore. Without the index of
all keys, the kids are those of the audit trail. Other such values are left out. `damaged` has the
names.

The lines, see sealed_lines.py:
    {"format": 1, "schema": ..., "created_at": ..., "meta": {...}}
    {"records": [[kid, {field: value}], ...]} with "again": true for records that were read again
    {"aliases": [[digest, kid], ...]}
    {"moved": [[kid, partition], ...]} of a partition with moved keys
    {"audit": [[id, {field: value}], ...]}
    {"end": {"seq": ..., "records": ..., "aliases": ..., "audit": ...}}
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import BadInput, Unavailable, Unreadable
from authz.core.fields import kid as parse_kid
from authz.core.selector import Position
from authz.storage import encoding, meta, schema, stored_records, tombstones
from authz.storage.change_log import changed_kids
from authz.storage.compact_entries import unpacked
from authz.storage.listing import StoredIndex
from authz.storage.moved import StoredMoved
from authz.storage.replies import checked, refuse_moving, unusable
from authz.storage.unread_records import LOST, read_fields

FORMAT: Final = 1
PAGE: Final = 200  # records or audit entries in a line
MAX_ROUNDS: Final = 100
_LAST: Final = str(2**64 - 1)  # the highest second part of a stream id

Write = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Contents:
    """The number of records, aliases and audit entries in a backup file, and its last change.

    A record or alias that appears several times counts each time. seq: the file holds all changes
    up to this one.
    """

    seq: int = 0
    records: int = 0
    aliases: int = 0
    audit: int = 0


class Backup:
    """Reads a store and passes each line of the backup, as a dict, to `write`."""

    def __init__(self, client: redis.asyncio.Redis, write: Write) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._index = StoredIndex(client)
        self._moved = StoredMoved(client)
        self._write = write
        self._found = Contents()
        self._damaged: dict[str, None] = {}

    @property
    def damaged(self) -> tuple[str, ...]:
        """The names in the store that could not be read, because their values have another type."""
        return tuple(self._damaged)

    async def run(
        self,
        fingerprints: Mapping[str, str],
        created_at: int,
        identity: Mapping[str, str] = MappingProxyType({}),
    ) -> Contents:
        """Write all lines and return the counts. created_at: milliseconds since the epoch.

        identity: of our settings, for the authz:meta of a store that lost it and still has keys.
        Their seals show whether they are ours. Raises Emptied if the store has no authz:meta and no
        complete data, Foreign if it has another schema or other peppers, and Unavailable if the
        store fails or changes too fast, or if no list of the keys is left.
        """
        found = await self._read(self._names.meta, self._client.hgetall(self._names.meta), {})
        if not found and identity and await self._has_data():
            self._damaged[self._names.meta] = None
            # Sealed, because whoever removed it may have written records; and with imports, because
            # nobody knows.
            found = {**identity, schema.META_SEALED: "1", schema.META_IMPORTS: "1"}
            if await checked(self._client.exists(self._names.moved)):
                schema_of_moved = str(schema.SCHEMA_MOVED)
                found |= {schema.META_MOVED: "1", schema.META_SCHEMA: schema_of_moved}
        meta.verify(found, fingerprints, self._names)
        header = {"format": FORMAT, "schema": schema.SCHEMA, "created_at": created_at}
        # A signing key that was removed since must not come back with a restore, nor does a move.
        others = (schema.META_SIGNING, schema.META_RESHARDING)
        kept = {name: one for name, one in found.items() if not name.startswith(others)}
        self._write(header | {"meta": kept})
        self._found.seq = await self._last_change()
        async for kids in self._kids():
            await self._write_records(kids, await stored_records.read(self._client, kids))
        await self._catch_up()
        if meta.has_moved(found):
            await self._copy_moved()
        await self._copy_tombstones()  # last: of keys that were deleted meanwhile, too
        name = self._names.applied
        if applied := await self._read(name, self._client.hgetall(name), {}):
            self._write({"applied": applied})
        await self._copy_audit()
        await self._refuse_moved()
        self._write({"end": asdict(self._found)})
        return self._found

    async def _refuse_moved(self) -> None:
        """Raise Unavailable if a move has frozen the store, or removed its data."""
        names = self._names
        found = await self._read(names.meta, self._client.hgetall(names.meta), {})
        if await checked(self._client.type(names.seq)) == "list":
            refuse_moving(found)
        if found:
            meta.refuse_partitions(found, names)

    async def _read(self, name: str, answer: Awaitable[Any], otherwise: Any) -> Any:
        """Return the reply, or `otherwise` if the value has another type. Raises Unavailable."""
        try:
            return await answer
        except (exceptions.RedisError, OSError) as cause:
            if not stored_records.is_wrong_type(cause):
                raise unusable(cause) from None
            self._damaged[name] = None
            return otherwise

    async def _has_data(self) -> bool:
        """Return whether the store has keys, and not half of them from a restore that ended early.

        A restore writes the number of the last change at its end.
        """
        names = self._names
        if await checked(self._client.exists(names.seq)):
            return True
        is_restoring = await checked(self._client.exists(names.restoring))
        return not is_restoring and bool(await checked(self._client.exists(names.keys)))

    async def _last_change(self) -> int:
        """Return the number of the last change: the highest one of all places that have it."""
        names, found = self._names, [0]
        try:
            text = await self._read(names.seq, self._client.get(names.seq), None)
            found.append(encoding.number(names.seq, text or "0"))
        except ValueError:
            self._damaged[names.seq] = None
        for name in (names.log, names.audit):
            page = await self._read(name, self._client.xrevrange(name, count=1), ())
            found += [int(entry_id.partition("-")[0]) for entry_id, _ in page]
        return max(found)

    async def _kids(self) -> AsyncIterator[Sequence[str]]:
        """Yield the kids of all keys, in pages. Raises Unavailable if no list of them is left."""
        names = self._names
        if await self._read(names.keys, self._client.zcard(names.keys), None) is not None:
            after: Position | None = None
            while places := await self._index.kids(None, after, PAGE):
                yield [place.kid for place in places]
                after = places[-1]
            return
        seen: set[str] = set()
        async for page in self._trail():
            kids = dict.fromkeys(fields.get("kid", "") for _, fields in page)
            yield [kid for kid in kids if _is_kid(kid) and kid not in seen]
            seen.update(kids)
        if names.audit in self._damaged:
            problem = "have another type than ours, so no list of the keys is left"
            raise Unavailable(f"{names.keys} and {names.audit} {problem}: restore a backup")

    async def _write_records(
        self, kids: Sequence[str], found: Sequence[Any], *, again: bool = False
    ) -> None:
        pairs = list(zip(kids, found, strict=True))
        bad = {kid for kid, stored in pairs if stored_records.is_wrong_type(stored)}
        stored_records.refuse_errors([stored for kid, stored in pairs if kid not in bad])
        self._damaged |= dict.fromkeys(map(self._names.key, sorted(bad)))
        read = [(kid, LOST if kid in bad else read_fields(kid, stored)) for kid, stored in pairs]
        records = [(kid, fields) for kid, fields in read if fields]
        if not records:
            return
        self._write({"records": records} | ({"again": True} if again else {}))
        self._found.records += len(records)
        await self._write_aliases(
            [
                (digest, kid)
                for kid, fields in records
                for digest in encoding.digests_of(fields.get("secrets", ""))
            ]
        )

    async def _write_aliases(self, digests: Sequence[tuple[bytes, str]]) -> None:
        """Write which of these digests are aliases. digests: with the kids of their records.

        An alias whose value has another type is that of the record.
        """
        commands = [("GET", self._names.alias(digest)) for digest, _ in digests]
        replies = await stored_records.replies(self._client, commands) if commands else []
        aliases = []
        for (digest, kid), (_, name), owner in zip(digests, commands, replies, strict=True):
            if stored_records.is_wrong_type(owner):
                self._damaged[name] = None
                aliases.append([digest.hex(), kid])
                continue
            stored_records.refuse_errors([owner])
            if owner:
                aliases.append([digest.hex(), owner])
        if aliases:
            self._write({"aliases": aliases})
            self._found.aliases += len(aliases)

    async def _catch_up(self) -> None:
        """Read the changed records again until no change is left out.

        Raises Unavailable after MAX_ROUNDS rounds, or if the log no longer holds a change.
        """
        for _ in range(MAX_ROUNDS):
            now = await self._last_change()
            if now == self._found.seq:
                return
            kids = await changed_kids(self._client, self._found.seq, now)
            pipeline = self._client.pipeline(transaction=True)
            pipeline.get(self._names.seq)
            for kid in kids:
                stored_records.add_reads(pipeline, self._names.key(kid))
            seq, *replies = await checked(pipeline.execute(raise_on_error=False))
            stored_records.refuse_errors([seq])
            await self._write_records(kids, stored_records.joined(replies), again=True)
            self._found.seq = now
            if (seq or "0") == str(now):
                return
        raise Unavailable("the store changes too fast to be read; try again")

    async def _copy_tombstones(self) -> None:
        for start in range(0, tombstones.BUCKETS, PAGE):
            buckets = range(start, min(start + PAGE, tombstones.BUCKETS))
            pipeline = self._client.pipeline(transaction=False)
            for bucket in buckets:
                pipeline.smembers(self._names.gone(bucket))
            found = await checked(pipeline.execute(raise_on_error=False))
            for bucket, reply in zip(buckets, found, strict=True):
                if stored_records.is_wrong_type(reply):
                    self._damaged[self._names.gone(bucket)] = None
            found = [() if stored_records.is_wrong_type(reply) else reply for reply in found]
            stored_records.refuse_errors(found)
            known = map(tombstones.of_members, buckets, found)
            places = [(one[0].bucket, [place.member for place in one]) for one in known if one]
            if places:
                self._write({"tombstones": places})

    async def _copy_moved(self) -> None:
        """Write the partitions of moved keys whose kids lead here. They never change."""
        try:
            async for page in self._moved.all():
                self._write({"moved": list(page.items())})
        except Unreadable:
            self._damaged[self._names.moved] = None

    async def _copy_audit(self) -> None:
        async for page in self._trail():
            self._write({"audit": page})
            self._found.audit += len(page)

    async def _trail(self) -> AsyncIterator[list[tuple[str, Mapping[str, str]]]]:
        """Yield the audit trail up to the last change, in pages; nothing if it is damaged."""
        name, start, end = self._names.audit, "-", f"{self._found.seq}-{_LAST}"
        while page := await self._read(
            name, self._client.xrange(name, start, end, count=PAGE), None
        ):
            yield [(entry_id, unpacked(entry)) for entry_id, entry in page]
            start = f"({page[-1][0]}"


def _is_kid(text: str) -> bool:
    with suppress(BadInput):
        return bool(parse_kid("kid", text))
    return False
