"""StoredLeakMemory: remembers reports of leaked keys, and the keys that they ended."""

from collections.abc import Sequence
from hashlib import sha256

import redis.asyncio

from authz.storage import schema
from authz.storage.replies import checked


class StoredLeakMemory:
    """A LeakMemory and an EndedKeys over redis-py. Methods raise Unavailable if the store fails.

    ended: the name of the hash with the keys that were ended; "": the one of reports.
    """

    def __init__(self, client: redis.asyncio.Redis, ended: str = "") -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._ended = ended or self._names.leaked
        self._may_end = client.register_script(_MAY_END)

    async def is_known(self, report: str, ms: int) -> bool:
        """Implement LeakMemory.is_known; `ms` is the time to live that `remember` set."""
        del ms
        return bool(await checked(self._client.exists(self._names.report(_hash(report)))))

    async def remember(self, report: str, ms: int) -> None:
        """Implement LeakMemory.remember."""
        await checked(self._client.set(self._names.report(_hash(report)), "1", px=ms))

    async def may_end(
        self, kids: Sequence[str], now: int, since: int, limit: int
    ) -> frozenset[str]:
        """Implement LeakMemory.may_end, in one step: a remembered key takes no further place."""
        if not kids:
            return frozenset()
        args: list[str | int] = [now, since, limit, *kids]
        return frozenset(await checked(self._may_end(keys=[self._ended], args=args)))


def _hash(report: str) -> str:
    return sha256(report.encode()).hexdigest()


_MAY_END = """
local found = redis.call('HGETALL', KEYS[1])
local now, since, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local known, count = {}, 0
for i = 1, #found, 2 do
  local at = tonumber(found[i + 1])
  if at and at >= since then
    known[found[i]], count = true, count + 1
  else
    redis.call('HDEL', KEYS[1], found[i])
  end
end
local may = {}
for i = 4, #ARGV do
  local kid = ARGV[i]
  if not known[kid] and count < limit then
    redis.call('HSET', KEYS[1], kid, now)
    known[kid], count = true, count + 1
  end
  if known[kid] then
    may[#may + 1] = kid
  end
end
return may
"""
