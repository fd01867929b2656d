-- Give keys that may be ended a place each, until none is left. Forget those that were ended earlier.
-- A time further ahead of now than `since` is behind it is of a clock that was wrong: it becomes now.
-- Else no key could be ended until that time comes.
-- KEYS: the ended keys   ARGV: now; since when ended keys count; the number of places; kids
-- Return the kids that have a place.
local found = redis.call('HGETALL', KEYS[1])
local now, since, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local known, count = {}, 0
for i = 1, #found, 2 do
  local at = tonumber(found[i + 1])
  if at and at > 2 * tonumber(now) - since then
    redis.call('HSET', KEYS[1], found[i], now)
  end
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
