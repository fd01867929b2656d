"""StoredDeliveries: remembers the deliveries of new secrets that have begun."""

from collections.abc import Mapping

import redis.asyncio

from authz.storage import schema
from authz.storage.replies import checked


class StoredDeliveries:
    """A PendingDeliveries over redis-py: one hash. Methods raise Unavailable if the store fails."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._name = schema.names_of(client).deliveries
        self._begin = client.register_script(_BEGIN)
        self._compare_and_set = client.register_script(_COMPARE_AND_SET)

    async def begin(self, kid: str, entry: str) -> str:
        """Implement PendingDeliveries.begin, in one step."""
        return str(await checked(self._begin(keys=[self._name], args=[kid, entry])))

    async def all(self) -> Mapping[str, str]:
        """Implement PendingDeliveries.all."""
        found: Mapping[str, str] = await checked(self._client.hgetall(self._name))
        return found

    async def compare_and_set(self, kid: str, known: str, new: str | None) -> bool:
        """Implement PendingDeliveries.compare_and_set, in one step."""
        args = [kid, known] if new is None else [kid, known, new]
        return bool(await checked(self._compare_and_set(keys=[self._name], args=args)))


_BEGIN = """
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found then return found end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return ARGV[2]
"""

_COMPARE_AND_SET = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
"""
