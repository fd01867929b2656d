"""Stores that count wrong, each in a way that other systems do: the judge has to see it."""

import asyncio

from authz.core.limits.charge import SpendRequest
from authz.core.limits.counters import BurstCounter

LATER = 0.02  # seconds

FIXED_WINDOWS = """
local time = redis.call('TIME')
local now, wanted, w = time[1] * 1000000 + time[2], tonumber(ARGV[1]), 8
local answer, names, granted = {}, {}, wanted
for k = 1, #KEYS - (ARGV[6] == '0' and 0 or 1) do
  local key = KEYS[k]
  local count = #ARGV[w] / 30
  for i = 1, count do
    local kind, _, limit, _, a, b = struct.unpack('>BBI8I4I8I8', ARGV[w], 30 * i - 29)
    local width = kind == 2 and (b - a) * 1000 or a * 1000
    local name = key .. ':' .. ARGV[w + i] .. ':' .. (now - now % width) / width
    local used = tonumber(redis.call('GET', name) or '0')
    names[#names + 1] = {name, limit - used, width - now % width}
    granted = math.min(granted, math.max(0, limit - used))
  end
  w = w + count + (ARGV[5] == '' and 1 or 2)
end
local answer = {granted, now}
for _, found in ipairs(names) do
  if granted > 0 then
    redis.call('INCRBY', found[1], granted)
  end
  answer[#answer + 1] = math.max(0, found[2] - granted)
end
for _, found in ipairs(names) do
  answer[#answer + 1] = found[2] > 0 and 0 or found[3]
end
return answer
"""


class LooksThenTakes:
    """A SpendStore that asks whether there is room, and takes it in a while."""

    def __init__(self, store):
        self._store = store

    @property
    def is_open(self):
        """Implement SpendStore.is_open."""
        return self._store.is_open

    def spend(self, charge, ask, deliver):
        """Implement SpendStore.spend."""

        loop = asyncio.get_running_loop()

        def take(seen):
            if isinstance(seen, Exception) or seen.granted < 0:
                deliver(seen)
                return
            rooms = [
                left // counter.charge
                for counter, left in zip(charge.counters, seen.left, strict=True)
                if not isinstance(counter, BurstCounter)
            ]
            granted = min([ask.wanted, *rooms])
            if not granted:
                deliver(seen)
                return
            taken = SpendRequest(0, returned=-granted)
            loop.call_later(LATER, self._store.spend, charge, taken, lambda _taken: None)
            deliver(seen._replace(granted=granted))

        self._store.spend(charge, ask._replace(wanted=0), take)
