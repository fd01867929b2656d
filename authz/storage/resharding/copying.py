"""Copying: brings the copies of all names up to date, as often as it is asked to.

A round compares each name of the old store by a digest of its value and time to live, which the
store makes. It writes what differs from the copy, and removes what is gone. So a round over a store
that does not change leaves an exact copy, whatever happened before.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, cast

import redis.asyncio

from authz.core.errors import Unreadable
from authz.core.limits.key_limits import LimitGroup, Owner
from authz.storage import encoding, schema, stored_records
from authz.storage.field_codec import as_bytes
from authz.storage.index_members import short_member
from authz.storage.moved import home_by_fields
from authz.storage.replies import checked
from authz.storage.resharding.destinations import Destinations, Kind, Record
from authz.storage.resharding.name_scan import escaped
from authz.storage.resharding.target import Target
from authz.storage.scripts import script

COUNT: Final = 500  # names that the store looks at in one step, or that are copied together
FROZEN_COUNT: Final = 5000  # the same while nobody else uses the store
_KEY: Final = "key:"
_ALIAS: Final = "alias:"
# Long values which are copied in other ways, and need no digest.
_LEFT_OUT: Final = ("client:", "audit", "log", "keys", "imported", "aside:audit")

Page = Sequence[tuple[str, str]]  # name and digest


class Copying:
    """Copies names of the old store to the targets, of which there is one for each partition.

    places: the records and aliases that were found. pools: groups of limits that some key may have.
    divided: the names whose entries are about several keys, and where each lies. unknown: names
    that this version does not know. damaged: kids of records that cannot be read; they are copied
    as they are. names: how many were copied in all rounds.
    """

    def __init__(
        self, old: redis.asyncio.Redis, targets: Sequence[Target], places: Destinations
    ) -> None:
        self._old = old
        self._names = schema.names_of(old)
        self._targets = targets
        self.places = places
        self._digests = old.register_script(script("digests"))
        self._copied: dict[str, tuple[str, int, str]] = {}  # digest, partition, where it lay
        self._seen: set[str] = set()
        self.pools: set[str] = set()
        self.divided: dict[str, str] = {}
        self.unknown: set[str] = set()
        self.damaged: set[str] = set()
        self.names = 0

    def copied(self, *beginnings: str) -> list[str]:
        """Return the copied names that begin with one of these, without their common beginning."""
        return [name for name in self._copied if name.startswith(beginnings)]

    async def round(self, count: int = COUNT) -> int:
        """Bring all copies up to date, and return how many were written.

        count: of names at which the store looks in one step, about 5 us for each. Raises
        Unavailable, Conflict if the targets are not those of this run.
        """
        before = self.names
        self._seen, self.divided, self.unknown = set(), {}, set()
        others: list[tuple[str, str, str]] = []  # only then all records are known
        async for page in self._pages(count):
            await self._copy_records([one for one in page if one[0].startswith(_KEY)])
            others += self._changed_others(page)
        changed = {name for _, name, _ in others}
        for name in [name for name in self._copied if name not in self._seen]:
            await self._remove(name, self._copied.pop(name)[1])
            self._forget(name)
        # The owner of a key has changed, so its limits, usage and aliases lie elsewhere, too.
        others += [
            (where, name, digest)
            for name, (digest, at, where) in self._copied.items()
            if name not in changed and at != self.places.of(name)
        ]
        for start in range(0, len(others), COUNT):
            await self._write(others[start : start + COUNT])
        for target in self._targets:
            await target.flush()
        return self.names - before

    async def _pages(self, count: int) -> AsyncIterator[Page]:
        """Yield all names, without their common beginning, and their digests."""
        start = self._names.beginning
        about = [f"{escaped(start)}*", str(count), *(start + name for name in _LEFT_OUT)]

        async def page(cursor: str) -> list[str]:
            digests = self._digests(keys=[self._names.seq], args=[cursor, *about])
            return cast("list[str]", await checked(digests))

        coming = asyncio.create_task(page("0"))
        try:
            while True:
                cursor, *found = await coming
                if cursor != "0":  # the store looks at the next names meanwhile
                    coming = asyncio.create_task(page(cursor))
                names = [name.removeprefix(start) for name in found[::2]]
                yield list(zip(names, found[1::2], strict=True))
                if cursor == "0":
                    return
        finally:
            coming.cancel()

    def _is_current(self, name: str, digest: str, where: str) -> bool:
        """Return whether the copy has this digest. Note where the name lies now."""
        self._seen.add(name)
        found = self._copied.get(name)
        if found is None or found[0] != digest:
            return False
        if found[2] != where:
            self._copied[name] = (digest, found[1], where)
        return True

    async def _copy_records(self, page: Page) -> None:
        changed = [(name, one) for name, one in page if not self._is_current(name, one, name)]
        kids = [name.removeprefix(_KEY) for name, _ in changed]
        stored = await stored_records.read(self._old, kids)
        dumps = await self._dumps([name for name, _ in changed])
        for (name, digest), kid, record, dump in zip(changed, kids, stored, dumps, strict=True):
            if dump[0] is None:
                continue
            fields = self._fields(kid, record)
            home = home_by_fields(self.places.partitions, kid, fields)
            self._note_pools(fields.get("project_id", ""), fields.get("tenant_id", ""))
            if name in self._copied:  # it may have been the key of another client, or elsewhere
                await self._remove(name, self._copied[name][1])
            self.places.records[kid] = Record(home, fields.get("client_id", ""))
            await self._targets[home].add(
                _restore(self._targets[home].names.beginning + name, dump),
                *self._places_in_indexes(kid, fields, is_compact=isinstance(record, str)),
            )
            self._note(name, digest, home, name)

    def _fields(self, kid: str, stored: Any) -> Mapping[str, str]:
        """Return the fields of a record; empty, and noted as damaged, if it cannot be read."""
        is_damaged, found = stored_records.is_wrong_type(stored), {}
        if not is_damaged:
            stored_records.refuse_errors([stored])
            try:
                found = dict(stored_records.fields_of(kid, stored))
            except Unreadable:
                is_damaged = True
        (self.damaged.add if is_damaged else self.damaged.discard)(kid)
        return found

    def _places_in_indexes(
        self, kid: str, fields: Mapping[str, str], *, is_compact: bool
    ) -> list[tuple[Any, ...]]:
        """Return the commands for the indexes, in the form of index_members.py."""
        record = self.places.records[kid]
        names = self._targets[record.home].names
        try:
            at = encoding.number("created_at", fields.get("created_at", ""))
        except ValueError:
            at = 0
        member = short_member(kid) if is_compact else kid
        indexes = [names.keys, *([names.client(record.client_id)] if record.client_id else [])]
        return [("ZADD", index, at, member) for index in indexes]

    def _note_pools(self, project: str, tenant: str) -> None:
        """Note the groups of limits of these owners, in the present form and in the former one."""
        if tenant:
            group = LimitGroup(Owner.TENANT, tenant, ())
            self.pools.add(f"{Owner.TENANT}:{group.counter_id}")
        if project:
            group = LimitGroup(Owner.PROJECT, project, (), tenant)
            ids = (group.counter_id, group.former_id)
            self.pools |= {f"{Owner.PROJECT}:{one}" for one in ids if one}

    def _changed_others(self, page: Page) -> list[tuple[str, str, str]]:
        """Return what differs from its copy and is no record: where it lies, name and digest."""
        changed = []
        for found, digest in page:
            name = found.removeprefix(schema.ASIDE)
            if name.startswith(_KEY):
                continue
            kind = self.places.of(name)
            if kind == Kind.DIVIDED:
                self.divided[name] = self._names.beginning + found
            elif kind == Kind.UNKNOWN and not name.startswith(_ALIAS):
                self.unknown.add(name)
            elif kind != Kind.MADE_ANEW and not self._is_current(name, digest, found):
                changed.append((found, name, digest))
        return changed

    async def copy_again(self, names: Sequence[str]) -> None:
        """Copy these names, which are aside, whether they differ or not. Raises as `round`."""
        for start in range(0, len(names), COUNT):
            page = names[start : start + COUNT]
            await self._write([(schema.ASIDE + name, name, "") for name in page])
        for target in self._targets:
            await target.flush()

    async def _write(self, changed: Sequence[tuple[str, str, str]]) -> None:
        """Copy names: where each lies, its name, and its digest."""
        await self._read_aliases([name for _, name, _ in changed if name.startswith(_ALIAS)])
        dumps = await self._dumps([found for found, _, _ in changed])
        for (where, name, digest), dump in zip(changed, dumps, strict=True):
            at = self.places.of(name)
            if at == Kind.UNKNOWN or dump[0] is None:  # it is gone meanwhile
                continue
            if name in self._copied and self._copied[name][1] != at:
                await self._remove(name, self._copied[name][1])
            for target in self._at(at):
                await target.add(_restore(target.names.beginning + name, dump))
            self._note(name, digest, at, where)

    async def _read_aliases(self, names: Sequence[str]) -> None:
        if names:
            kids = await checked(self._old.mget([self._names.beginning + name for name in names]))
            pairs = zip(names, kids, strict=True)
            found = {name.removeprefix(_ALIAS): kid for name, kid in pairs if kid is not None}
            self.places.aliases |= found

    async def _dumps(self, names: Sequence[str]) -> list[tuple[Any, int]]:
        """Return value and end of each name, as the store gives them; None without a value."""
        if not names:
            return []
        async with self._old.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.execute_command("DUMP", self._names.beginning + name)
                pipeline.execute_command("PEXPIRETIME", self._names.beginning + name)
            replies = await checked(pipeline.execute())
        return list(zip(replies[::2], replies[1::2], strict=True))

    def _note(self, name: str, digest: str, at: int, where: str) -> None:
        self._copied[name] = (digest, at, where)
        self.names += 1

    def _at(self, at: int) -> Sequence[Target]:
        return self._targets if at == Kind.EVERYWHERE else [self._targets[at]]

    async def _remove(self, name: str, at: int) -> None:
        for target in self._at(at):
            await target.add(("DEL", target.names.beginning + name))
        if not name.startswith(_KEY):
            return
        kid = name.removeprefix(_KEY)
        record, target = self.places.records[kid], self._targets[at]
        for index in (target.names.keys, target.names.client(record.client_id)):
            await target.add(("ZREM", index, kid, short_member(kid)))

    def _forget(self, name: str) -> None:
        word, _, rest = name.partition(":")
        if word == "key":
            self.places.records.pop(rest, None)
            self.damaged.discard(rest)
        elif word == "alias":
            self.places.aliases.pop(rest, None)


def _restore(name: str, dump: tuple[Any, int]) -> tuple[Any, ...]:
    text, end = dump
    ends = (end, as_bytes(text), "REPLACE", "ABSTTL") if end > 0 else (0, as_bytes(text), "REPLACE")
    return ("RESTORE", name, *ends)
