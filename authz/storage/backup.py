"""Backup: all keys of a store in one sealed file, as they were at one change.

Written: authz:meta, every record with its version, the aliases of imported keys, and the audit
trail. The indexes follow from the records. Limit counters, the log of recent changes and the
registry of sidecars are left out.

The store is not stopped meanwhile. Records that change while the others are read are read again,
from the log of changes, until one transaction shows that no further change was made. A record may
therefore appear several times in the file; the last one counts.

The lines, see sealed_lines.py:
    {"format": 1, "schema": ..., "created_at": ..., "meta": {...}}
    {"records": [[kid, {field: value}], ...]} with "again": true for records that were read again
    {"aliases": [[digest, kid], ...]}
    {"audit": [[id, {field: value}], ...]}
    {"end": {"seq": ..., "records": ..., "aliases": ..., "audit": ...}}
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import redis.asyncio

from authz.core.errors import Unavailable, Unreadable
from authz.core.selector import Position
from authz.storage import encoding, meta, schema, stored_records, tombstones
from authz.storage.change_log import changed_kids
from authz.storage.compact_entries import unpacked
from authz.storage.field_codec import as_bytes
from authz.storage.listing import StoredIndex
from authz.storage.replies import checked, last_change

FORMAT: Final = 1
PAGE: Final = 200  # records or audit entries in a line
MAX_ROUNDS: Final = 100
_UNREAD: Final = {"schema": "0", "client_id": "", "created_at": "0"}
_BYTES: Final = "damaged"
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
        self._write = write
        self._found = Contents()

    async def run(self, fingerprints: Mapping[str, str], created_at: int) -> Contents:
        """Write all lines and return the counts. created_at: milliseconds since the epoch.

        Raises Emptied if the store has no authz:meta, Foreign if it has another schema or other
        peppers, and Unavailable if the store fails, changes too fast or has a garbled sequence.
        """
        found = await checked(self._client.hgetall(self._names.meta))
        meta.verify(found, fingerprints, self._names)
        header = {"format": FORMAT, "schema": schema.SCHEMA, "created_at": created_at}
        # A signing key that was removed since must not come back with a restore.
        signing = schema.META_SIGNING
        kept = {name: one for name, one in found.items() if not name.startswith(signing)}
        self._write(header | {"meta": kept})
        self._found.seq = await last_change(self._client)
        after: Position | None = None
        while places := await self._index.kids(None, after, PAGE):
            await self._copy([place.kid for place in places])
            after = places[-1]
        await self._catch_up()
        await self._copy_tombstones()  # last: of keys that were deleted meanwhile, too
        if applied := await checked(self._client.hgetall(self._names.applied)):
            self._write({"applied": applied})
        await self._copy_audit()
        self._write({"end": asdict(self._found)})
        return self._found

    async def _copy(self, kids: Sequence[str]) -> None:
        await self._write_records(kids, await stored_records.read(self._client, kids))

    async def _write_records(
        self, kids: Sequence[str], found: Sequence[Any], *, again: bool = False
    ) -> None:
        stored_records.refuse_errors(found)
        pairs = zip(kids, found, strict=True)
        read = [(kid, _fields(kid, stored)) for kid, stored in pairs]
        records = [(kid, fields) for kid, fields in read if fields]
        if not records:
            return
        self._write({"records": records} | ({"again": True} if again else {}))
        self._found.records += len(records)
        secrets = [fields.get("secrets", "") for _, fields in records]
        digests = [digest for text in secrets for digest in encoding.digests_of(text)]
        names = list(map(self._names.alias, digests))
        owners = await checked(self._client.mget(names)) if names else []
        aliases = [[d.hex(), kid] for d, kid in zip(digests, owners, strict=True) if kid]
        if aliases:
            self._write({"aliases": aliases})
            self._found.aliases += len(aliases)

    async def _catch_up(self) -> None:
        """Read the changed records again until no change is left out.

        Raises Unavailable after MAX_ROUNDS rounds, or if the log no longer holds a change.
        """
        for _ in range(MAX_ROUNDS):
            now = await last_change(self._client)
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
            found = await checked(pipeline.execute())
            known = map(tombstones.of_members, buckets, found)
            places = [(one[0].bucket, [place.member for place in one]) for one in known if one]
            if places:
                self._write({"tombstones": places})

    async def _copy_audit(self) -> None:
        start, end = "-", f"{self._found.seq}-{_LAST}"
        while True:
            page = await checked(self._client.xrange(self._names.audit, start, end, count=PAGE))
            if not page:
                return
            self._write({"audit": [[entry_id, unpacked(entry)] for entry_id, entry in page]})
            self._found.audit += len(page)
            start = f"({page[-1][0]}"


def _fields(kid: str, stored: Any) -> Mapping[str, str]:
    """Return the fields of a stored record, empty if there is none.

    Of a compact record that is damaged, or of a newer version, they are its bytes, with what a
    restore by any version needs. `kept_bytes` returns them.
    """
    try:
        return stored_records.fields_of(kid, stored)
    except Unreadable:
        return {**_UNREAD, _BYTES: as_bytes(stored).hex()}


def kept_bytes(fields: Mapping[str, str]) -> bytes | None:
    """Return the bytes of a compact record that the backup could not read; None of any other."""
    if fields.keys() != {*_UNREAD, _BYTES} or not _UNREAD.items() <= fields.items():
        return None
    try:
        return bytes.fromhex(fields[_BYTES])
    except ValueError:
        return None
