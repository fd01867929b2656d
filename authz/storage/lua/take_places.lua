-- Give keys that may be ended a place each, until none is left. Forget those that were ended earlier.
-- Only the clock of the store counts: those of two processes can differ by more than `ms`.
-- A time that is ahead of it is of another clock, or the store's was wrong: it becomes now.
-- Else no key could be ended until that time comes.
-- KEYS: the ended keys   ARGV: for how many ms ended keys count; the number of places; kids
-- Return the kids that have a place.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local since, limit = now - tonumber(ARGV[1]), tonumber(ARGV[2])
local text = string.format('%.0f', now)
local found = redis.call('HGETALL', KEYS[1])
local known, count = {}, 0
for i = 1, #found, 2 do
  local at = tonumber(found[i + 1])
  if at and at > now then
    redis.call('HSET', KEYS[1], found[i], text)
  end
  if at and at >= since then
    known[found[i]], count = true, count + 1
  else
    redis.call('HDEL', KEYS[1], found[i])
  end
end
local may = {}
for i = 3, #ARGV do
  local kid = ARGV[i]
  if not known[kid] and count < limit then
    redis.call('HSET', KEYS[1], kid, text)
    known[kid], count = true, count + 1
  end
  if known[kid] then
    may[#may + 1] = kid
  end
end
return may
