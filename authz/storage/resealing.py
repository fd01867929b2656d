"""Resealing: seals all records and applied fields of a store, and then marks it as sealed.

Rules:
1. A record without a seal is sealed only while the store is not marked. After that somebody without
   the pepper may have written it.
2. A record with a wrong seal is never sealed. Only `accept` does that, one key at a time.
3. A seal under an older pepper is replaced by one under the newest.
   Rules 1 to 3 are those of applied fields, too, but nothing accepts them.
4. Changes go on meanwhile. An earlier version of authz leaves a record unsealed that was sealed
   already. So the keys that were changed meanwhile are looked at again, from the log of changes,
   until one transaction shows that no further change was made. That transaction marks the store.
   It fails, too, if the applied fields were changed since all of them had a seal.
5. A run may be interrupted and repeated. It passes over records that are sealed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.audit import Action
from authz.core.changes import Author, planned
from authz.core.errors import Conflict, NotFound, Unavailable, Unreadable
from authz.core.records import KeyRecord
from authz.core.seals import Seal
from authz.core.selector import Position
from authz.storage import encoding, schema, stored_records
from authz.storage.applied import StoredApplied
from authz.storage.change_log import changed_kids
from authz.storage.keys import StoredKeys
from authz.storage.listing import StoredIndex
from authz.storage.refusals import refusal
from authz.storage.replies import checked, last_change
from authz.storage.rewriting import Rewrite, rewrite, with_seal
from authz.storage.seals import StoreSeals

PAGE: Final = 200  # records in one round trip
MAX_ROUNDS: Final = 100
MAX_REFUSED: Final = 1000  # refusals that are remembered


@dataclass(slots=True)
class Resealed:
    """The result of a run. Records that were changed meanwhile count each time.

    looked_at: records. sealed: those that got a seal; in a dry run those that would. refused: kids
    with the reason, at most MAX_REFUSED; refused_applied: likewise, of applied fields; refusals:
    the number of both. seq: the last change of which all records were looked at. marked: the store
    is marked. applied: entries with applied fields; applied_sealed: those that got a seal.
    """

    looked_at: int = 0
    sealed: int = 0
    refusals: int = 0
    seq: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    marked: bool = False
    applied: int = 0
    applied_sealed: int = 0
    refused_applied: dict[str, str] = field(default_factory=dict)

    def refuse(self, kid: str, why: str) -> None:
        """Note a record that keeps no seal or a wrong one."""
        self._note(self.refused, kid, why)

    def refuse_applied(self, kid: str, why: str) -> None:
        """Note applied fields that keep no seal or a wrong one."""
        self._note(self.refused_applied, kid, why)

    def _note(self, refused: dict[str, str], kid: str, why: str) -> None:
        if kid not in refused:
            self.refusals += 1
            if len(refused) < MAX_REFUSED:
                refused[kid] = why


def summed(found: Sequence[Resealed]) -> Resealed:
    """Return the result of runs in several partitions, `seq` as the sum.

    marked: all of them are.
    """
    refused = dict(item for one in found for item in one.refused.items())
    refused_applied = dict(item for one in found for item in one.refused_applied.items())
    return Resealed(
        looked_at=sum(one.looked_at for one in found),
        sealed=sum(one.sealed for one in found),
        refusals=sum(one.refusals for one in found),
        seq=sum(one.seq for one in found),
        refused=dict(islice(refused.items(), MAX_REFUSED)),
        marked=all(one.marked for one in found),
        applied=sum(one.applied for one in found),
        applied_sealed=sum(one.applied_sealed for one in found),
        refused_applied=dict(islice(refused_applied.items(), MAX_REFUSED)),
    )


class Resealing:
    """Seals records and applied fields of one store.

    seals: of `client`, after authz:meta was read.
    """

    def __init__(self, client: redis.asyncio.Redis, seals: StoreSeals) -> None:
        self._client = client
        self._seals = seals
        self._names = schema.names_of(client)
        self._index = StoredIndex(client)
        self._applied = StoredApplied(client)

    async def run(
        self, progress: Callable[[Resealed], None] = lambda _: None, *, dry_run: bool = False
    ) -> Resealed:
        """Seal all records and applied fields, and mark the store.

        progress: called after each page of records.

        dry_run: count only; nothing is written. Raises Unavailable if the store fails or changes
        too fast; what was sealed until then stays so.
        """
        found = Resealed(marked=await self._is_marked())
        found.seq = await last_change(self._client)
        after: Position | None = None
        while places := await self._index.kids(None, after, PAGE):
            await self._seal([place.kid for place in places], found, dry_run=dry_run)
            progress(found)
            after = places[-1]
        await self._seal_applied(found, dry_run=dry_run)
        if dry_run:
            return found
        for _ in range(MAX_ROUNDS):
            if await checked(self._mark(found)):
                found.marked = True
                return found
        raise Unavailable("the store changes too fast to be sealed; try again")

    async def accept(self, keys: StoredKeys, kid: str, author: Author, now: int) -> KeyRecord:
        """Seal one record as it is, and return it. It is a change of the key, with an audit entry.

        Raises NotFound if there is no such key, Conflict if its seal is right, Unreadable if it
        cannot be decoded or has the number of a later change, and as StoredKeys.apply. now: ms
        since the epoch.
        """
        (found,) = await stored_records.read(self._client, [kid])
        stored_records.refuse_errors([found])
        stored = stored_records.fields_of(kid, found)
        if not stored:
            raise NotFound(f"no key has the kid {kid}")
        if self._seals.records.check(kid, stored) in {Seal.VALID, Seal.OLDER}:
            raise Conflict(f"the seal of {kid} is right")
        record = encoding.decode(kid, stored, keeps_unknown=True)
        if record.version > await last_change(self._client):
            raise Unreadable(f"record {kid}: its version is above the number of the last change")
        seal = {"old": "wrong or absent", "new": "accepted"}
        await keys.apply(planned(record, record, Action.UPDATE, author, now, seal=seal))
        return record

    async def _seal(self, kids: Sequence[str], found: Resealed, *, dry_run: bool) -> None:
        wanted: list[Rewrite] = []
        replies = await stored_records.read(self._client, kids)
        for kid, reply in zip(kids, replies, strict=True):
            if isinstance(reply, exceptions.ResponseError):
                found.refuse(kid, refusal(reply))
            elif isinstance(reply, Exception):
                raise Unavailable(f"the store cannot be used: {refusal(reply)}")
            elif not stored_records.is_absent(reply):
                found.looked_at += 1
                try:
                    stored = stored_records.fields_of(kid, reply)
                    if seal := self._new_seal(kid, stored):
                        wanted.append(with_seal(kid, reply, stored, seal))
                except (Unreadable, ValueError) as cause:
                    found.refuse(kid, str(cause))
        if dry_run:
            found.sealed += len(wanted)
        elif wanted:
            found.sealed += await rewrite(self._client, wanted)

    def _new_seal(self, kid: str, stored: Mapping[str, str]) -> str:
        """Return the seal that the record shall get; "" if it has it.

        Raises BadSeal if it shall get none, Unreadable if it cannot be decoded.
        """
        if self._seals.records.check(kid, stored) is Seal.VALID:
            return ""
        self._seals.check(kid, stored)
        encoding.decode(kid, stored)
        return self._seals.records.seal(kid, stored)

    async def _is_marked(self) -> bool:
        return schema.META_SEALED in await checked(self._client.hgetall(self._names.meta))

    async def _seal_applied(self, found: Resealed, *, dry_run: bool = False) -> int:
        found.applied, sealed = await self._applied.reseal(found.refuse_applied, dry_run=dry_run)
        found.applied_sealed += sealed
        return sealed

    async def _seal_changed(self, found: Resealed) -> None:
        """Seal the records that were changed since `found.seq`."""
        now = await last_change(self._client)
        kids = await changed_kids(self._client, found.seq, now)
        for at in range(0, len(kids), PAGE):
            await self._seal(kids[at : at + PAGE], found, dry_run=False)
        found.seq = now

    async def _mark(self, found: Resealed) -> bool:
        """Mark the store if all is sealed, else seal more. Return whether it is marked.

        Applied fields are watched while they are looked at, which takes long. The last change is
        watched only after that, or no run would end beside many changes. Raises Conflict if
        authz:meta is gone.
        """
        names = self._names
        async with self._client.pipeline() as transaction:
            await transaction.watch(names.applied)
            if await self._seal_applied(found):
                return False
            await self._seal_changed(found)
            await transaction.watch(names.seq, names.meta)
            if not await transaction.exists(names.meta):
                raise Conflict("the store was emptied meanwhile")
            seq: Any = await transaction.get(names.seq)
            if encoding.number(names.seq, seq or "0") != found.seq:
                return False
            transaction.multi()  # type: ignore[no-untyped-call]
            transaction.hset(names.meta, schema.META_SEALED, "1")
            try:
                await transaction.execute()
            except exceptions.WatchError:
                return False
        return True
