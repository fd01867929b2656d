"""Restore: the content of a backup file into an empty store.

Rules:
1. The whole file is verified before anything is written: verified_backup.py.
2. The store must hold no keys. Registry entries and limit counters of running sidecars may exist.
3. authz:meta is written last, together with the sequence. Without it no sidecar trusts the store,
   so none sees half of the keys.
4. The sequence continues above the highest change that the backup or a sidecar knows. So a sidecar
   cannot take a change of the restored store for one that it has already applied.
5. An interrupted restore continues if it is started again with the same file. Until then, no
   other restore and no `authz init` may complete the store.
6. A key is left out if a tombstone says that it was deleted: one of the backup, of the store, or of
   another backup that was made later.
7. Of a record that is several times in the file only the last version is written. So a key that was
   revoked during the backup is never active in the store.
"""

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import Conflict, Unavailable
from authz.core.keys.digest_index import entry_of
from authz.storage import compact, compact_entries, emptiness, meta, schema, tombstones
from authz.storage.backup import Contents
from authz.storage.essential import is_full
from authz.storage.guarded_writes import Command, GuardedWrites
from authz.storage.index_members import short_member
from authz.storage.index_state import encoded_index
from authz.storage.replies import checked, describe_full, unusable
from authz.storage.restored_lines import (
    created_at,
    is_compact,
    rows_left_out,
    without_deleted,
    without_earlier,
)
from authz.storage.tombstones import Tombstone
from authz.storage.unread_records import kept_bytes
from authz.storage.verified_backup import Line, Verified

LATER_ROW: Final = "equal or smaller than the target stream top item"  # of XADD
AGAIN: Final = "then run `authz restore` again with the same file"
ANOTHER_WRITER: Final = (
    "another process writes the audit trail at this moment. If it restores the same file, it goes "
    "on, and this restore has ended: wait for it, then look with `authz doctor`"
)


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore. contents: of the file. seq: the new sequence number.

    highest: the last change that a sidecar or this machine knew of before, or 0. bad_seals: kids of
    records that stay refused.
    """

    contents: Contents
    seq: int
    highest: int
    bad_seals: tuple[str, ...] = ()


WriteLine = Callable[[int, dict[str, Any]], Awaitable[None]]
Note = Callable[[int, int, Mapping[str, bytes]], Mapping[str, str]]


class Restore:
    """Writes a verified backup file into a store. A run that was interrupted can be repeated.

    note: returns the row for the audit trail, from the last change of the backup, the number of the
    row, and the hashes of the rows that were left out, by id; None: no row is written.
    """

    def __init__(self, client: redis.asyncio.Redis, note: Note | None = None) -> None:
        self._client = client
        self._note = note
        self._entries: list[str] = []  # of the index of imported digests
        self._left_out: dict[str, bytes] = {}
        self._names = schema.names_of(client)

    async def run(
        self,
        file: Verified,
        lines: Iterable[Line],
        highest: int,
        gone: frozenset[Tombstone] = frozenset(),
    ) -> int:
        """Write everything and return the new sequence number, which is above `highest`.

        lines: number and content of each line of the file, read again. highest: the last change
        that a sidecar or this machine knows of, or 0. gone: tombstones of a later backup; the keys
        that they name are left out. Raises Conflict if the store has data or was emptied meanwhile,
        FileRefused if `lines` does, Unavailable if the store fails. Until it returns, no sidecar
        trusts the store.
        """
        async with self.begun(file, gone) as write:
            for number, item in lines:
                await write(number, item)
            return await self.complete(highest)

    @asynccontextmanager
    async def begun(
        self, file: Verified, gone: frozenset[Tombstone] = frozenset()
    ) -> AsyncIterator[WriteLine]:
        """Begin, and yield what writes a line of the file. `complete` ends it. Raises as `run`."""
        await self._claim(file)
        done = await self._audited()
        gone = gone | file.gone | await self._tombstones()
        async with self._guarded(file) as writes:
            await self._write_tombstones(writes, gone)

            async def write(number: int, item: dict[str, Any]) -> None:
                kept = without_deleted(without_earlier(item, number, file.last), gone)
                self._left_out |= rows_left_out(item, kept)
                await self._write(writes, file, kept, done)

            self._begun = writes, file
            yield write

    async def complete(self, highest: int) -> int:
        """Write authz:meta and the sequence number, above `highest`, and return that number."""
        writes, file = self._begun
        seq = max(file.contents.seq, highest) + 1
        if meta.has_imports(file.meta):
            with suppress(Unavailable):  # its right may be missing; a failed store fails below
                text = encoded_index(seq, list(dict.fromkeys(self._entries)))
                await self._change(writes, [("SET", self._names.imported, text)])
        await self._change(writes, self._completion(file, seq, self._left_out))
        return seq

    async def is_done(self, file: Verified) -> bool:
        """Return whether this file was restored here before, to its end. Raises Unavailable."""
        names = self._names
        marker = await checked(self._client.get(names.restoring))
        return marker == file.identity and bool(await checked(self._client.exists(names.meta)))

    def _completion(
        self, file: Verified, seq: int, left_out: Mapping[str, bytes]
    ) -> Iterator[Command]:
        yield "SET", self._names.seq, seq
        yield "HSET", self._names.meta, *_flat(file.meta)
        if self._note is not None:
            row = self._note(file.contents.seq, seq, left_out)
            yield "XADD", self._names.audit, f"{seq}-0", *_flat(row)

    def _guarded(self, file: Verified) -> GuardedWrites:
        """Return writes that are allowed while the store is that of this unfinished restore."""
        names = self._names
        questions = (("GET", names.restoring), ("EXISTS", names.meta))
        expected = [file.identity, 0]
        return GuardedWrites(
            self._client,
            (names.meta, names.restoring),
            questions,
            lambda answers: list(answers) == expected,
        )

    async def _change(self, writes: GuardedWrites, commands: Iterable[Command]) -> None:
        """Write in one transaction, while the store is still that of this unfinished restore.

        Raises Conflict if the marker is not ours or authz:meta exists, or if another process wrote
        the same audit entries meanwhile. Raises Unavailable.
        """
        try:
            is_done = await writes.apply(commands)
        except (exceptions.RedisError, OSError) as cause:
            if LATER_ROW in str(cause):
                raise Conflict(ANOTHER_WRITER) from None
            if is_full(cause):
                raise Unavailable(f"{await describe_full(self._client)}; {AGAIN}") from None
            raise unusable(cause) from None
        if not is_done:
            raise Conflict("the store was emptied, or restored by another process, meanwhile")

    async def _claim(self, file: Verified) -> None:
        """Set the marker of this restore.

        Allowed in an empty store, or in one that has this marker already. Raises Conflict if it has
        data, authz:meta or the marker of another restore. Raises Unavailable.
        """
        names = self._names

        async def claim(transaction: Any) -> None:
            present = [name for name in emptiness.watched(names) if await transaction.exists(name)]
            is_started = await transaction.get(names.restoring) == file.identity
            if present and (names.meta in present or not is_started):
                raise Conflict(emptiness.describe(present, names))
            transaction.multi()
            transaction.set(names.restoring, file.identity)

        await checked(self._client.transaction(claim, *emptiness.watched(names)))

    async def _tombstones(self) -> frozenset[Tombstone]:
        """Return the tombstones that the store has."""
        pipeline = self._client.pipeline(transaction=False)
        for bucket in range(tombstones.BUCKETS):
            pipeline.smembers(self._names.gone(bucket))
        found = await checked(pipeline.execute())
        places = map(tombstones.of_members, range(tombstones.BUCKETS), found)
        return frozenset(chain.from_iterable(places))

    async def _write_tombstones(self, writes: GuardedWrites, gone: frozenset[Tombstone]) -> None:
        names = self._names
        if gone:
            found = sorted(gone)
            await self._change(
                writes, [("SADD", names.gone(place.bucket), place.member) for place in found]
            )

    async def _audited(self) -> tuple[int, int]:
        """Return the id of the last audit entry, of an earlier attempt; (0, 0) without one."""
        last = await checked(self._client.xrevrange(self._names.audit, count=1))
        return _stream_id(last[0][0]) if last else (0, 0)

    async def _write(
        self, writes: GuardedWrites, file: Verified, item: dict[str, Any], done: tuple[int, int]
    ) -> None:
        aliases = [(bytes.fromhex(digest), kid) for digest, kid in item.get("aliases", ())]
        self._entries += [entry_of(digest) for digest, _ in aliases]
        commands = [*self._records(file, item.get("records", ()))]
        commands += [("SET", self._names.alias(digest), kid) for digest, kid in aliases]
        if applied := item.get("applied"):
            commands.append(("HSET", self._names.applied, *_flat(applied)))
        if moved := item.get("moved"):
            entries = ((short_member(kid), str(at)) for kid, at in moved)
            commands.append(("HSET", self._names.moved, *chain.from_iterable(entries)))
        commands += [
            ("XADD", self._names.audit, entry_id, *_flat(self._entry(file, entry)))
            for entry_id, entry in item.get("audit", ())
            if _stream_id(entry_id) > done
        ]
        if commands:
            await self._change(writes, commands)

    def _entry(self, file: Verified, entry: Mapping[str, str]) -> Mapping[str, Any]:
        """Return an audit entry in the form that authz:meta of the file names."""
        if is_compact(file.meta) and entry.get("kid"):
            others = {name: text for name, text in entry.items() if name != "kid"}
            with suppress(ValueError):
                return {"kid": entry["kid"], compact_entries.ENTRY: compact_entries.pack(others)}
        return entry

    def _records(
        self, file: Verified, records: Sequence[tuple[str, Mapping[str, str]]]
    ) -> Iterator[Command]:
        """Yield the commands for these records, and one for each index that they are in.

        A damaged record is written as it is. Without a client it is in the index of all keys only.
        A compact record has the short member of index_members.py.
        """
        places: dict[str, list[Any]] = {}
        for kid, fields in records:
            commands = self._record(file, kid, fields)
            yield from commands
            member = short_member(kid) if commands[0][0] == "SET" else kid
            place, client = (created_at(fields), member), fields.get("client_id")
            places.setdefault(self._names.keys, []).extend(place)
            if client:
                places.setdefault(self._names.client(client), []).extend(place)
        for name, found in places.items():
            yield "ZADD", name, *found

    def _record(self, file: Verified, kid: str, fields: Mapping[str, str]) -> tuple[Command, ...]:
        """Return the commands for a record in the form that authz:meta of the file names.

        A damaged hash stays one. A compact record that the backup could not read is written as it
        was. The commands replace a record that is left in the store.
        """
        name = self._names.key(kid)
        if (text := kept_bytes(fields)) is not None:
            return (("SET", name, text),)
        if is_compact(file.meta):
            with suppress(ValueError):
                return (("SET", name, compact.pack(fields)),)
        return ("DEL", name), ("HSET", name, *_flat(fields))


def _flat(fields: Mapping[str, str]) -> Iterator[str]:
    return chain.from_iterable(fields.items())


def _stream_id(text: str) -> tuple[int, int]:
    first, _, second = text.partition("-")
    return int(first), int(second)
