-- Change the form of members of an index of keys. See index_members.py.
--
-- KEYS  1 the index
-- ARGV  the former member and the new one, for each key
-- Returns the number of members that were changed. One that the index lacks is left out.

local changed = 0
for i = 1, #ARGV, 2 do
  local score = redis.call('ZMSCORE', KEYS[1], ARGV[i])[1]
  if score then
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('ZADD', KEYS[1], score, ARGV[i + 1])
    changed = changed + 1
  end
end
return changed
