"""The audit trail as rows: `StoredRows` reads them and adds rows about the trail itself."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import redis.asyncio
from redis import exceptions

from authz.core.audit import AuditEntry, AuditEvent
from authz.core.errors import Unavailable, Unreadable
from authz.core.trail.rows import Row, following, position
from authz.storage import encoding, schema
from authz.storage.compact_entries import unpacked
from authz.storage.essential import ALLOW_OOM
from authz.storage.keys import WAIT_MS
from authz.storage.marks import marks_of, with_mark
from authz.storage.refusals import refusal
from authz.storage.replies import checked
from authz.storage.scripts import script

MAX_REPLICAS: Final = 1000
ADD_ROW: Final = ALLOW_OOM + script("add_row")


class StoredRows:
    """A TrailStore, a TrailNotes and a TrailHeads on the audit stream.

    has_replicas: the store is behind Sentinel. All methods raise Unavailable if the store fails.
    """

    def __init__(self, client: redis.asyncio.Redis, *, has_replicas: bool = False) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._has_replicas = has_replicas
        self._marks = marks_of(client)
        self._append = client.register_script(ADD_ROW)

    async def after(self, row_id: str, count: int) -> Sequence[Row]:
        """Return at most `count` rows after an id, oldest first; from the first if it is empty."""
        start = f"({row_id}" if row_id else "-"
        return _rows(await checked(self._client.xrange(self._names.audit, start, "+", count=count)))

    async def before(self, row_id: str, count: int) -> Sequence[Row]:
        """Return at most `count` rows before an id, newest first; from the last if it is empty."""
        end = f"({row_id}" if row_id else "+"
        return _rows(
            await checked(self._client.xrevrange(self._names.audit, end, "-", count=count))
        )

    async def add(self, after: Row, fields: Mapping[str, str]) -> tuple[str, bool] | None:
        """Add a row directly after the row `after`, which has to be the last one.

        Return its id and whether it can survive a failover. None if the last row is another one. If
        rows at the end were removed, their ids stay missing.
        """
        names = self._names

        async def add(transaction: Any) -> str:
            last = _rows(await transaction.xrevrange(names.audit, count=1))
            if last != [after]:
                return ""
            info = await transaction.xinfo_stream(names.audit)
            row_id = following(str(info["last-generated-id"]))
            transaction.multi()
            transaction.xadd(names.audit, cast("Any", dict(fields)), id=row_id)
            return row_id

        # WATCH and MULTI: repeated if another row came after the read.
        work = self._client.transaction(add, names.audit, value_from_callable=True)
        row_id = str(await checked(work))
        return (row_id, await self._survives(row_id)) if row_id else None

    async def append(self, event: AuditEvent, change_id: str) -> None:
        """Implement TrailNotes.append: add a row without a kid behind the last row.

        Its id has the number of the last row, and the next part. It also works on a full store.
        Raises Unavailable, also if the reply was lost, and BadInput if the keys of the marks
        cannot be read.
        """
        fields = with_mark(self._marks, "", encoding.encode_event(event, change_id, 0))
        args = [text for pair in {"kid": "", **fields}.items() for text in pair]
        await checked(self._append(keys=[self._names.audit], args=args))

    async def _survives(self, row_id: str) -> bool:
        """Return whether a replica has the row of this id; True if the store has no Sentinel.

        Writes the heartbeat and waits at most WAIT_MS (1 s) for a replica.
        """
        if not self._has_replicas:
            return True
        pipeline = self._client.pipeline(transaction=False)  # WAIT is about its own connection
        pipeline.xrange(self._names.audit, row_id, row_id)
        pipeline.set(self._names.heartbeat, row_id)
        pipeline.wait(1, WAIT_MS)
        found, written, count = await checked(pipeline.execute(raise_on_error=False))
        return bool(found) and written is True and count in range(1, MAX_REPLICAS)

    async def heads(self) -> tuple[int, str]:
        """Return the number of the last change, and the last id of the stream; 0 and "" if none.

        The id is "" too if our user may not ask for it. Raises Unavailable, also for a garbled
        number.
        """
        pipeline = self._client.pipeline(transaction=False)
        pipeline.get(self._names.seq)
        pipeline.exists(self._names.audit)
        found, exists = await checked(pipeline.execute())
        try:
            number = encoding.number(self._names.seq, found or "0")
        except ValueError as cause:
            raise Unavailable(str(cause)) from None
        if not exists:
            return number, ""
        try:
            info = await self._client.xinfo_stream(self._names.audit)
        except exceptions.NoPermissionError:  # a user that only reads
            return number, ""
        except (exceptions.RedisError, OSError) as cause:
            raise Unavailable(f"the store cannot be used: {refusal(cause)}") from None
        return number, str(info["last-generated-id"])


def entry_of(row: Row) -> AuditEntry | Unreadable:
    """Return the entry of a row about a key, or the fault why it cannot be read.

    The version is that of the row's id, also for an entry that was written late.
    """
    try:
        return AuditEntry(position(row.id)[0], *encoding.decode_event(row.fields))
    except Unreadable as cause:
        return Unreadable(f"audit entry {row.id}: {cause}")


def _rows(found: Any) -> list[Row]:
    return [Row(row_id, unpacked(fields)) for row_id, fields in found]
