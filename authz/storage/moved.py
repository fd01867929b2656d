"""StoredMoved: the partitions of moved keys, as one partition of the store names them.

A moved key was made while the store had one partition. Its kid leads to one partition, its record
lies in another, the home of its owner. The partition to which the kid leads has a hash with the
short form of the kid and the number of the other. An entry never changes, and stays when the key is
deleted. Whoever reads it may remember it for ever.

authz:meta has the field `moved` if there may be entries. Such a store has a schema of its own, so a
version that knows no moved keys refuses it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import redis.asyncio

from authz.core.errors import Unreadable
from authz.core.fields import shown
from authz.core.partitions import Partitions
from authz.core.records import KeyRecord
from authz.storage import schema
from authz.storage.index_members import kid_of, short_member
from authz.storage.replies import checked

PAGE: Final = 1000  # entries in one command
MAX_DIGITS: Final = 2


class StoredMoved:
    """A MovedKeys over redis-py, of one partition."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def find(self, kids: Sequence[str]) -> list[int | None]:
        """Implement MovedKeys.find."""
        found: list[int | None] = []
        for start in range(0, len(kids), PAGE):
            page = kids[start : start + PAGE]
            fields = list(map(short_member, page))
            texts: Any = await checked(self._client.hmget(self._names.moved, fields))
            found += [
                None if text is None else place(kid, text, self._names)
                for kid, text in zip(page, texts, strict=True)
            ]
        return found

    async def all(self) -> AsyncIterator[Mapping[str, int]]:
        """Yield the partition of each moved key whose kid leads here, by kid, in pages.

        A key may come twice. Raises Unavailable if the store fails, Unreadable for a spoiled entry.
        """
        cursor: Any = 0
        while True:
            scan: Any = self._client.hscan(self._names.moved, cursor, count=PAGE)
            cursor, page = await checked(scan)
            kids = {kid_of(member): text for member, text in page.items()}
            if kids:
                yield {kid: place(kid, text, self._names) for kid, text in kids.items()}
            if not int(cursor):
                return

    async def save(self, found: Mapping[str, int]) -> None:
        """Write these entries, by kid; others stay. Raises Unavailable.

        The kids lead to this partition, and their keys lie in another one.
        """
        entries = iter(found.items())
        while page := dict(islice(entries, PAGE)):
            mapping: Any = {short_member(kid): str(at) for kid, at in page.items()}
            await checked(self._client.hset(self._names.moved, mapping=mapping))


def divided_meta(content: Mapping[str, str], names: schema.Names) -> dict[str, str]:
    """Return authz:meta of one of the partitions among which a store with one is divided.

    content: authz:meta of that store. names: those of the partition. Signing keys belong to no API
    key, so partition 0 alone has them.
    """
    kept = {
        name: text
        for name, text in content.items()
        if names.partition == 0 or not name.startswith(schema.META_SIGNING)
    }
    return kept | {
        schema.META_SCHEMA: str(schema.SCHEMA_MOVED),
        schema.META_MOVED: "1",
        schema.META_PARTITIONS: str(names.partitions),
        schema.META_PARTITION: str(names.partition),
    }


def home_by_fields(partitions: Partitions, kid: str, fields: Mapping[str, str]) -> int:
    """Return the partition in which a record with these stored fields lies.

    It is the home of the owner that they name. If they name no client, as those of a record that
    cannot be read, it is the partition to which the kid leads.
    """
    client = fields.get("client_id", "")
    if not client:
        return partitions.of(kid)
    return partitions.home(client, fields.get("project_id", ""), fields.get("tenant_id", ""))


def place(kid: str, text: object, names: schema.Names) -> int:
    """Return the partition that an entry names. names: those of the partition that has the entry.

    Raises Unreadable unless it is another one of the store.
    """
    if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS:
        at = int(text)
        if at < names.partitions and at != names.partition:
            return at
    raise Unreadable(f"the partition of the moved key {shown(kid)} is garbled")


def refuse_stray(record: KeyRecord, names: schema.Names) -> None:
    """Raise Unreadable if a record lies in another partition than the home of its owner.

    names: those of the partition that has it. Changes of the key are made in its home, so a copy
    elsewhere would outlive a revocation. Its seal is right.
    """
    home = Partitions(names.partitions).home_of(record)
    if home != names.partition:
        raise Unreadable(
            f"record {record.kid}: it lies in partition {names.partition}, "
            f"and the home of its owner is {home}"
        )


def leads_here(kid: str, names: schema.Names) -> bool:
    """Return whether a kid leads to the partition with these names, among several."""
    return names.partitions > 1 and Partitions(names.partitions).of(kid) == names.partition
