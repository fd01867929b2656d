"""Reading the indexes of keys and the audit trail.

The cost of a read is proportional to its result. Nothing here scans the store (KEYS, SCAN).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import redis.asyncio
from redis import exceptions

from authz.core.audit import AuditEntry
from authz.core.errors import BadInput, Unavailable, Unreadable
from authz.core.records import KeyRecord
from authz.storage import encoding, schema
from authz.storage.link import refusal
from authz.storage.replies import checked

MAX_ATTEMPTS: Final = 10
# If a change was interrupted, its audit entry may be written later, after those of other changes.
SEARCHED: Final = 1000  # entries


class StoredIndex:
    """A KeyIndex on the sorted sets that every change updates. Oldest key first."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def kids(self, client_id: str | None, after: str, count: int) -> Sequence[str]:
        """Return up to `count` kids after the kid `after`, by creation time.

        Empty after the last one. client_id: of this client only; None: of all. after "": from the
        first. Raises BadInput if `after` is not in the list, Unavailable if the store fails or
        ranks keep moving. It reads by rank, because a range by score would have to skip keys of
        equal time.
        """
        name = self._names.keys if client_id is None else self._names.client(client_id)
        if not after:
            return cast("list[str]", await checked(self._client.zrange(name, 0, count - 1)))
        for _ in range(MAX_ATTEMPTS):
            rank = await checked(self._client.zrank(name, after))
            if rank is None:
                raise BadInput("cursor", f"{after} is not in this list; begin without one")
            found = await checked(self._client.zrange(name, rank, rank + count))
            if found and found[0] == after:  # else a change moved the ranks between the two reads
                return cast("list[str]", found[1:])
        raise Unavailable("the list changes too fast to be read; try again")

    async def read(self, kids: Sequence[str]) -> Sequence[KeyRecord | Unreadable | None]:
        """Return for each kid the record, None if it is absent, or an Unreadable with the cause.

        The Unreadable is returned, not raised. Takes one round trip; without kids, none. Raises
        Unavailable if the store cannot be used.
        """
        if not kids:
            return []
        async with self._client.pipeline(transaction=False) as pipeline:
            for kid in kids:
                pipeline.hgetall(self._names.key(kid))
            replies = await checked(pipeline.execute(raise_on_error=False))
        return [_record(kid, reply) for kid, reply in zip(kids, replies, strict=True)]


class StoredTrail:
    """An AuditTrail on the audit stream. The id of an entry is the version that the change made."""

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
        entries = (_entry(kid, version, row) for _, row in found if row.get("kid") == kid)
        return next((entry for entry in entries if entry.base_version < version), None)


def _record(kid: str, reply: Any) -> KeyRecord | Unreadable | None:
    if isinstance(reply, exceptions.RedisError):
        return Unreadable(f"record {kid}: {refusal(reply)}")
    try:
        return encoding.decode(kid, reply) if reply else None
    except Unreadable as cause:
        return cause


def _entry(kid: str, version: int, found: Mapping[str, str]) -> AuditEntry:
    try:
        return AuditEntry(version, *encoding.decode_event(found))
    except Unreadable as cause:
        raise Unreadable(f"audit entry of {kid} at version {version}: {cause}") from None
