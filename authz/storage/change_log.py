"""StoredChangeLog: reads the log of recent changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import redis.asyncio

from authz.core.audit import LoggedChange
from authz.core.errors import BadInput, Unavailable
from authz.core.fields import kid as parse_kid
from authz.core.records import Status
from authz.storage import encoding, schema
from authz.storage.replies import checked, last_change


class StoredChangeLog:
    """A ChangeLog on the stream of recent changes, which the store trims."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def last(self) -> int:
        """Return the number of the last change, or 0. Raises Unavailable, also if it is garbled."""
        return await last_change(self._client)

    async def after(self, version: int, count: int) -> Sequence[LoggedChange] | None:
        """Return up to `count` changes after `version`, oldest first.

        Empty if `version` is the last change. None if the log may lack some of them, because it no
        longer holds change `version` itself (for 0: change 1). Raises Unavailable if the store
        fails or an entry is garbled.
        """
        first = max(version, 1)
        found = await checked(
            self._client.xrange(self._names.log, f"{first}-0", "+", count=count + 1)
        )
        changes = [_change(position, fields) for position, fields in found]
        if changes and changes[0].version == first:
            return changes[1:] if version else changes[:count]
        return [] if await self.last() == version else None


async def changed_kids(client: redis.asyncio.Redis, since: int, until: int) -> list[str]:
    """Return the distinct kids changed after `since`, up to and including `until`, oldest first.

    Raises Unavailable if the log does not hold all of these changes.
    """
    name = schema.names_of(client).log
    entries = await checked(client.xrange(name, f"({since}-0", f"{until}-0"))
    kids = [entry["kid"] for entry_id, entry in entries if entry_id.endswith("-0")]
    if len(kids) != until - since:
        raise Unavailable("more was changed meanwhile than the log holds; try again")
    return list(dict.fromkeys(kids))


def _change(position: str, fields: Mapping[str, Any]) -> LoggedChange:
    """Return one change of the log. Raises Unavailable if it is garbled."""
    try:
        kid = parse_kid("kid", fields["kid"])
        status = encoding.member(Status, "status", fields["status"])
        version = encoding.number("version", position.partition("-")[0])
        return LoggedChange(version, kid, status, encoding.number("at", fields.get("at", "0")))
    except (KeyError, ValueError, BadInput):
        raise Unavailable(f"entry {position} of the log of changes cannot be read") from None
