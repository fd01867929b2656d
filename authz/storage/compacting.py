"""Compacting: writes all records of a store in the compact form, or all as hashes again.

Rules:
1. An earlier version reads no compact record: its sidecars answer 503, its commands fail. So
   nothing is written while a sidecar is registered that does not say that it reads them.
2. The mark in authz:meta comes first. From then on each change writes a compact record.
3. A rewritten record keeps its version, its change id and its seal. So no sidecar has to reload it,
   no pepper is needed, and sidecars and changes of keys go on meanwhile.
4. Keys that were changed meanwhile are looked at again, from the log of changes: a writer may have
   read authz:meta before the mark. The second mark, that all records are compact, is set in a
   transaction that sees no further change. A hash that is written later is read all the same.
5. A damaged record has no compact form. It is refused, and stays as it is.
6. A run may be interrupted and repeated. It passes over records that have the wanted form.
7. The members of the indexes of keys change their form, too: see index_members.py. The oldest keys
   come first. So new keys get the new form when the last of the others have it.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import Conflict, Unavailable, Unreadable
from authz.core.selector import Position
from authz.storage import encoding, schema, stored_records
from authz.storage.change_log import changed_kids
from authz.storage.listing import StoredIndex
from authz.storage.refusals import refusal
from authz.storage.registry import StoredSidecars
from authz.storage.renaming import Renaming
from authz.storage.replies import checked, last_change
from authz.storage.rewriting import Rewrite, in_other_form, rewrite

PAGE: Final = 500  # records
MAX_ROUNDS: Final = 100
MAX_REFUSED: Final = 1000  # refusals that are remembered


@dataclass(slots=True)
class Compacted:
    """The result of a run. Records that were changed meanwhile count each time.

    looked_at: records. written: those that were written in the other form; in a dry run those that
    would be. indexed: the same of keys whose members in the indexes changed. refused: kids with the
    reason, at most MAX_REFUSED; refusals: their number. seq: the last change of which all records
    were looked at.
    """

    looked_at: int = 0
    written: int = 0
    indexed: int = 0
    refusals: int = 0
    seq: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def refuse(self, kid: str, why: str) -> None:
        """Note a record that stays as it is."""
        if kid not in self.refused:
            self.refusals += 1
            if len(self.refused) < MAX_REFUSED:
                self.refused[kid] = why


def summed(found: Sequence[Compacted]) -> Compacted:
    """Return the result of runs in several partitions, `seq` as the sum."""
    refused = dict(item for one in found for item in one.refused.items())
    return Compacted(
        looked_at=sum(one.looked_at for one in found),
        written=sum(one.written for one in found),
        indexed=sum(one.indexed for one in found),
        refusals=sum(one.refusals for one in found),
        seq=sum(one.seq for one in found),
        refused=dict(islice(refused.items(), MAX_REFUSED)),
    )


class Compacting:
    """Changes the form of all records of one store. to_hashes: back to the form of hashes."""

    def __init__(self, client: redis.asyncio.Redis, *, to_hashes: bool = False) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._index = StoredIndex(client)
        self._renaming = Renaming(client, to_kids=to_hashes)
        self._to_hashes = to_hashes

    async def older_sidecars(self) -> list[str]:
        """Return the registered sidecars that may serve and do not read compact records.

        Raises Unavailable.
        """
        _, found = await StoredSidecars(self._client).find()
        return [
            one.sidecar.instance
            for one in found
            if not one.sidecar.reads_compact and one.silent_ms < one.reach_ms()
        ]

    async def run(
        self, progress: Callable[[Compacted], None] = lambda _: None, *, dry_run: bool = False
    ) -> Compacted:
        """Write all records in the wanted form, and mark the store.

        progress: called after each page of records. dry_run: count only. Raises Unavailable if the
        store fails or changes too fast, Conflict if it is emptied meanwhile; what was written until
        then stays so.
        """
        if not dry_run:
            await self._begin()
        found = Compacted(seq=await last_change(self._client))
        async for places in self._pages():
            await self._write([place.kid for place in places], found, dry_run=dry_run)
            progress(found)
        if dry_run:
            return found
        for _ in range(MAX_ROUNDS):
            now = await last_change(self._client)
            kids = await changed_kids(self._client, found.seq, now)
            for at in range(0, len(kids), PAGE):
                await self._write(kids[at : at + PAGE], found)
            found.seq = now
            if await checked(self._end(now)):
                return found
        raise Unavailable("the store changes too fast; try again")

    async def _pages(self) -> AsyncIterator[Sequence[Position]]:
        """Yield all keys by creation, the keys of one millisecond on one page."""
        after: Position | None = None
        count = PAGE
        while places := await self._index.kids(None, after, count):
            if len(places) == count:
                places = [one for one in places if one.created_at < places[-1].created_at]
            if not places:
                count *= 2
                continue
            yield places
            after, count = places[-1], PAGE

    async def _begin(self) -> None:
        """Set the mark, after which changes write the wanted form. An interrupted run goes on."""
        names = self._names

        async def mark(transaction: Any) -> None:
            if not await transaction.exists(names.meta):
                raise Conflict("the store has no authz:meta")
            transaction.multi()
            if self._to_hashes:
                transaction.hdel(names.meta, schema.META_COMPACT)
            else:
                transaction.hset(names.meta, schema.META_COMPACT, schema.SOME_COMPACT)

        await checked(self._client.transaction(mark, names.meta))

    async def _end(self, seq: int) -> bool:
        """Set the mark that all records are compact, if `seq` is still the last change.

        Return whether it was. Raises Conflict if authz:meta is gone.
        """
        names = self._names
        async with self._client.pipeline() as transaction:
            await transaction.watch(names.seq, names.meta)
            if not await transaction.exists(names.meta):
                raise Conflict("the store was emptied meanwhile")
            last: Any = await transaction.get(names.seq)
            if encoding.number(names.seq, last or "0") != seq:
                return False
            if self._to_hashes:
                return True
            transaction.multi()  # type: ignore[no-untyped-call]
            transaction.hset(names.meta, schema.META_COMPACT, schema.ALL_COMPACT)
            try:
                await transaction.execute()
            except exceptions.WatchError:
                return False
        return True

    async def _write(self, kids: Sequence[str], found: Compacted, *, dry_run: bool = False) -> None:
        wanted: list[Rewrite] = []
        clients: dict[str, str] = {}
        replies = await stored_records.read(self._client, kids)
        for kid, reply in zip(kids, replies, strict=True):
            if isinstance(reply, exceptions.ResponseError):
                found.refuse(kid, f"record {kid}: {refusal(reply)}")
            elif isinstance(reply, Exception):
                raise Unavailable(f"the store cannot be used: {refusal(reply)}")
            elif not stored_records.is_absent(reply):
                found.looked_at += 1
                self._add(kid, reply, wanted, clients, found)
        if dry_run:
            found.written += len(wanted)
            found.indexed += await self._renaming.count(clients)
            return
        # A hash has its kid in the indexes at any time: see index_members.py.
        if self._to_hashes:
            found.indexed += await self._renaming.rename(clients)
        if wanted:
            found.written += await rewrite(self._client, wanted)
        if not self._to_hashes:
            found.indexed += await self._renaming.rename(clients)

    def _add(
        self,
        kid: str,
        reply: Any,
        wanted: list[Rewrite],
        clients: dict[str, str],
        found: Compacted,
    ) -> None:
        """Note what is to be written of a record. clients: gets its client, by kid."""
        if self._to_hashes:
            clients[kid] = ""  # also if it cannot be read: earlier versions know its kid alone
        try:
            fields = stored_records.fields_of(kid, reply)
            if isinstance(reply, str) is self._to_hashes:
                wanted.append(in_other_form(kid, reply, fields))
        except Unreadable as cause:
            found.refuse(kid, str(cause))
        except ValueError as cause:
            found.refuse(kid, f"record {kid}: {cause}")
        else:
            clients[kid] = fields.get("client_id", "")
