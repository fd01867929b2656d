"""StoredDeletions: deletes keys, with their entries in the audit trail. Tombstones stay."""

from collections.abc import Sequence
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.deletion import Removal, RemovedEntry
from authz.core.errors import Conflict, OutcomeUnknown, Unavailable
from authz.core.records import KeyRecord
from authz.core.trail.rows import row_hash
from authz.storage import encoding, schema, tombstones
from authz.storage.compact_entries import unpacked
from authz.storage.essential import ALLOW_OOM
from authz.storage.index_members import short_member
from authz.storage.listing import SEARCHED
from authz.storage.marks import marks_of, with_mark
from authz.storage.refusals import refusal
from authz.storage.replies import checked
from authz.storage.scripts import script

DELETE_KEY: Final = ALLOW_OOM + script("change_steps", "delete_key")


class StoredDeletions:
    """A DeletionStore over redis-py."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._marks = marks_of(client)
        self._delete = client.register_script(DELETE_KEY)

    async def entries(self, record: KeyRecord) -> Sequence[RemovedEntry]:
        """Return the key's audit entries, newest first, up to the first that is missing.

        Takes one round trip for each, two for one that was written late. Raises Unavailable.
        """
        found: list[RemovedEntry] = []
        version = record.version
        while version:
            row = await self._row(record.kid, version)
            if row is None:
                break
            row_id, fields = row
            found.append(RemovedEntry(row_id, row_hash(row_id, fields)))
            version = int(fields["base"])
        return found

    async def _row(self, kid: str, version: int) -> tuple[str, dict[str, str]] | None:
        first = f"{version}-0"
        found = await checked(self._client.xrange(self._names.audit, first, first))
        if not found:  # it may have been written late
            found = await checked(
                self._client.xrange(self._names.audit, first, "+", count=SEARCHED)
            )
        for row_id, stored in found:
            fields = dict(unpacked(stored))
            base = fields.get("base", "")
            is_base = base.isascii() and base.isdecimal() and len(base) <= encoding.MAX_DIGITS
            if fields.get("kid") == kid and is_base and int(base) < version:
                return row_id, fields
        return None

    async def delete(self, removal: Removal) -> int:
        """Delete the key by the script and return the number of this change.

        Then drop its limit counters and its applied fields. If the key was deleted before, return
        the number of the store's last change. Raises Conflict if the key is at another version,
        Unavailable if the deletion was not made, OutcomeUnknown if it may have been, or if a part
        of the rest is still there. It works on a full store.
        """
        record, names = removal.record, self._names
        digests = [secret.digest for secret in record.secrets if secret.digest]
        named = [names.alias(one) for one in digests]
        owners = await checked(self._client.mget(named)) if named else []
        aliases = [one for one, kid in zip(digests, owners, strict=True) if kid == record.kid]
        own, *places = tombstones.of(record.kid, aliases)
        keys = [
            *(names.key(record.kid), names.seq, names.log, names.audit, names.keys),
            *(names.client(record.client_id), names.gone(own.bucket)),
        ]
        for digest, place in zip(aliases, places, strict=True):
            keys += [names.alias(digest), names.gone(place.bucket)]
        fields = encoding.encode_event(removal.event, removal.id, record.version)
        fields = with_mark(self._marks, record.kid, fields)
        args: list[Any] = [
            *(removal.id, record.version, names.publish, schema.LOG_LENGTH, record.kid),
            *(short_member(record.kid), names.imported),
            *(own.member, len(aliases), *(place.member for place in places)),
            *(len(removal.entries), *(entry.id for entry in removal.entries)),
            *(text for pair in fields.items() for text in pair),
        ]
        try:
            outcome, version = await self._delete(keys=keys, args=args)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as cause:
            raise OutcomeUnknown(f"the store did not confirm the deletion: {cause}") from None
        except exceptions.RedisError as cause:
            raise Unavailable(f"the store refused the deletion: {refusal(cause)}") from None
        if outcome == "conflict":
            raise Conflict(f"{record.kid} is at version {version}, not {record.version}")
        await self._drop_rest(record.kid)
        return int(version)

    async def _drop_rest(self, kid: str) -> None:
        """Drop the limit counters and the applied fields of a deleted key.

        Raises OutcomeUnknown if the store fails: the same deletion again drops them.
        """
        try:
            await checked(self._client.delete(self._names.limit(kid)))
            await checked(self._client.hdel(self._names.applied, kid))
        except Unavailable as cause:
            raise OutcomeUnknown(f"{kid} is deleted, but not all of its data: {cause}") from None
