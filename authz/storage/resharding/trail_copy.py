"""TrailCopy: the audit trail of the old store, row by row, in partition 0."""

from typing import Any, Final

import redis.asyncio

from authz.storage.replies import checked
from authz.storage.resharding.target import Target

PAGE: Final = 500  # rows
IDS: Final = 5000  # ids of rows in one step


class TrailCopy:
    """Copies the trail. Rows are added behind the last one; a deletion of a key removes some."""

    def __init__(self, old: redis.asyncio.Redis, new: redis.asyncio.Redis, target: Target) -> None:
        self._old = old
        self._new = new
        self._target = target
        self._after = "-"
        self.rows = 0

    async def advance(self, name: str) -> None:
        """Copy the rows behind the last one that was copied. name: of the trail in the old store.

        Raises Unavailable, Conflict.
        """
        while True:
            page: Any = await checked(self._old.xrange(name, self._after, "+", PAGE))
            for row_id, fields in page:
                words = [text for pair in fields.items() for text in pair]
                await self._target.add(("XADD", self._target.names.audit, row_id, *words))
            if page:
                self._after = f"({page[-1][0]}"
                self.rows += len(page)
            if len(page) < PAGE:
                break
        await self._target.flush()

    async def finish(self, name: str) -> None:
        """Copy the rest of a trail that does not change, and remove rows that it lacks.

        Raises as `advance`.
        """
        await self.advance(name)
        here = self._target.names.audit
        self.rows = int(await checked(self._old.xlen(name)))
        if int(await checked(self._new.xlen(here))) == self.rows:
            return
        theirs = set(await _ids(self._old, name))
        extra = [row_id for row_id in await _ids(self._new, here) if row_id not in theirs]
        for start in range(0, len(extra), PAGE):
            await self._target.add(("XDEL", here, *extra[start : start + PAGE]))
        await self._target.flush()


async def _ids(client: redis.asyncio.Redis, name: str) -> list[str]:
    run = client.register_script(_IDS)
    found: list[str] = []
    after = "-"
    while page := await checked(run(keys=[name], args=[after, IDS])):
        found += page
        after = f"({page[-1]}"
    return found


_IDS: Final = """
local ids = {}
for place, row in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])) do
  ids[place] = row[1]
end
return ids
"""
