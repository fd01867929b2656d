"""Restore: the content of a backup file into an empty store.

Rules:
1. The whole file is verified before anything is written.
2. The store must hold no keys. Registry entries and limit counters of running sidecars may exist.
3. authz:meta is written last, together with the sequence. Without it no sidecar trusts the store,
   so none sees half of the keys.
4. The sequence continues above the highest change that the backup or a sidecar knows. So a sidecar
   cannot take a change of the restored store for one that it has already applied.
5. An interrupted restore continues if it is started again with the same file.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis.asyncio

from authz.core.errors import Conflict
from authz.storage import meta, schema
from authz.storage.backup import FORMAT, Contents
from authz.storage.replies import checked
from authz.storage.sealed_lines import FileRefused

Line = tuple[int, dict[str, Any]]
Lines = Callable[[], Iterable[Line]]


@dataclass(frozen=True, slots=True)
class Verified:
    """A file that was read to its end. identity: tells it from another backup."""

    meta: Mapping[str, str]
    created_at: int
    contents: Contents
    identity: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The result. seq: the new sequence number. highest: the highest change known before."""

    contents: Contents
    seq: int
    highest: int


def verify(lines: Iterable[Line], fingerprints: Mapping[str, str]) -> Verified:
    """Read a whole file. Raises FileRefused with the line, Foreign for other peppers."""
    found = Contents()
    header: dict[str, Any] = {}
    for number, item in lines:
        try:
            if number == 1:
                header = item
                _check_header(item)
            elif "end" in item:
                _check_end(item["end"], found)
            else:
                _check(item, found)
        except (ValueError, TypeError, LookupError, AttributeError) as cause:
            raise FileRefused(f"line {number}: {cause}") from None
    meta.verify(header["meta"], fingerprints)
    identity = f"{header['created_at']}-{found.seq}-{found.records}-{found.audit}"
    return Verified(header["meta"], header["created_at"], found, identity)


def _check_header(item: dict[str, Any]) -> None:
    if item.get("format") != FORMAT:
        raise ValueError(f"format {item.get('format')!r}; this version reads {FORMAT}")
    if item["schema"] != schema.SCHEMA:
        raise ValueError(f"schema {item['schema']}; this version reads {schema.SCHEMA}; upgrade it")


def _check(item: dict[str, Any], found: Contents) -> None:
    for kid, fields in item.get("records", ()):
        if schema.number("schema", fields["schema"]) > schema.SCHEMA:
            raise ValueError(f"record {kid} has a newer schema; upgrade this version")
        found.records += 1
    for digest, _kid in item.get("aliases", ()):
        bytes.fromhex(digest)
        found.aliases += 1
    found.audit += len(item.get("audit", ()))


def _check_end(end: dict[str, int], found: Contents) -> None:
    found.seq = end["seq"]
    if end != asdict(found):
        raise ValueError("the file does not hold as much as its end says")


class Restore:
    """Writes a verified file into a store."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def run(self, file: Verified, lines: Iterable[Line], highest: int) -> int:
        """Write everything and return the new sequence number, which is above `highest`.

        highest: the last change that a sidecar or this machine knows of. Raises Conflict if the
        store is not empty, Unavailable.
        """
        await self._claim(file)
        done = await self._audited()
        for _, item in lines:
            await self._write(item, done)
        seq = max(file.contents.seq, highest) + 1
        pipeline = self._client.pipeline(transaction=True)
        pipeline.set(self._names.seq, seq)
        pipeline.hset(self._names.meta, mapping=cast("Any", dict(file.meta)))
        await checked(pipeline.execute())
        return seq

    async def _claim(self, file: Verified) -> None:
        restoring = await checked(self._client.get(self._names.restoring))
        names = self._names
        anything = (names.meta, names.seq, names.log, names.audit, names.keys)
        exists = [name for name in anything if await checked(self._client.exists(name))]
        is_started = restoring == file.identity and self._names.meta not in exists
        if exists and not is_started:
            raise Conflict(
                f"the store is not empty: it has {exists[0]}; restore into an empty store, "
                "or empty this one first (FLUSHDB)"
            )
        await checked(self._client.set(self._names.restoring, file.identity))

    async def _audited(self) -> tuple[int, int]:
        """Return the id of the last audit entry; of an earlier attempt, if any."""
        last = await checked(self._client.xrevrange(self._names.audit, count=1))
        return _stream_id(last[0][0]) if last else (0, 0)

    async def _write(self, item: dict[str, Any], done: tuple[int, int]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        former = await self._former_clients(item) if item.get("again") else {}
        for kid, fields in item.get("records", ()):
            pipeline.hset(self._names.key(kid), mapping=cast("Any", fields))
            score = {kid: schema.number("created_at", fields["created_at"])}
            pipeline.zadd(self._names.keys, score)
            if former.get(kid, fields["client_id"]) != fields["client_id"]:
                pipeline.zrem(self._names.client(former[kid]), kid)
            pipeline.zadd(self._names.client(fields["client_id"]), score)
        for digest, kid in item.get("aliases", ()):
            pipeline.set(self._names.alias(bytes.fromhex(digest)), kid)
        for entry_id, entry in item.get("audit", ()):
            if _stream_id(entry_id) > done:
                pipeline.xadd(self._names.audit, entry, id=entry_id)
        if len(pipeline):
            await checked(pipeline.execute())

    async def _former_clients(self, item: dict[str, Any]) -> dict[str, str]:
        """Return the clients of records that were written before from an earlier line."""
        kids = [kid for kid, _ in item["records"]]
        pipeline = self._client.pipeline(transaction=False)
        for kid in kids:
            pipeline.hget(self._names.key(kid), "client_id")
        found = await checked(pipeline.execute())
        return {kid: client for kid, client in zip(kids, found, strict=True) if client}


def _stream_id(text: str) -> tuple[int, int]:
    first, _, second = text.partition("-")
    return int(first), int(second)
