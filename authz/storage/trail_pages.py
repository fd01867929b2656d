"""Pages of the audit trail of all keys, and of the log of recent changes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis.asyncio

from authz.core.audit import AuditEntry, LoggedChange, TrailRow
from authz.core.errors import BadInput, Unavailable, Unreadable
from authz.core.fields import kid as parse_kid
from authz.core.records import Status
from authz.storage import encoding, schema
from authz.storage.replies import checked

_POSITION: Final = re.compile(r"\d{1,15}-\d{1,15}", re.ASCII)


class StoredTrailPages:
    """TrailPages on the audit stream."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def page(self, before: str, count: int) -> Sequence[TrailRow]:
        """Return up to `count` rows older than the position `before`, newest first.

        before "": from the newest. Raises Unavailable, also if `before` is no position.
        """
        if before and not _POSITION.fullmatch(before):
            raise Unavailable("not a position of the audit trail")
        newest = f"({before}" if before else "+"
        found = await checked(self._client.xrevrange(self._names.audit, newest, "-", count=count))
        return [_row(position, fields) for position, fields in found]


class StoredChangeLog:
    """A ChangeLog on the stream of recent changes, which the store trims."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def last(self) -> int:
        """Return the number of the last change. Raises Unavailable, also if it is garbled."""
        found = await checked(self._client.get(self._names.seq))
        try:
            return encoding.number(self._names.seq, found or "0")
        except ValueError as cause:
            raise Unavailable(str(cause)) from None

    async def after(self, version: int, count: int) -> Sequence[LoggedChange] | None:
        """Return up to `count` changes after `version`, oldest first.

        None if the log lacks some of them: it does not hold `version` itself, nor the first change
        of all, and the last change is another one. Raises Unavailable.
        """
        first = max(version, 1)
        found = await checked(
            self._client.xrange(self._names.log, f"{first}-0", "+", count=count + 1)
        )
        changes = [_change(position, fields) for position, fields in found]
        if changes and changes[0].version == first:
            return changes[1:] if version else changes[:count]
        return [] if await self.last() == version else None


def _row(position: str, fields: Mapping[str, str]) -> TrailRow:
    version = int(position.partition("-")[0])
    try:
        kid = parse_kid("kid", fields.get("kid", ""))
        return TrailRow(position, kid, AuditEntry(version, *encoding.decode_event(fields)))
    except (Unreadable, BadInput) as cause:
        return TrailRow(position, "", Unreadable(f"audit entry {position}: {cause}"))


def _change(position: str, fields: Mapping[str, Any]) -> LoggedChange:
    """Return one change of the log. Raises Unavailable if it is garbled."""
    try:
        kid = parse_kid("kid", fields["kid"])
        status = encoding.member(Status, "status", fields["status"])
        version = encoding.number("version", position.partition("-")[0])
        return LoggedChange(version, kid, status, encoding.number("at", fields.get("at", "0")))
    except (KeyError, ValueError, BadInput):
        raise Unavailable(f"entry {position} of the log of changes cannot be read") from None
