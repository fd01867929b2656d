-- End the sessions of one name that began until a time. A later end that is there stays.
-- KEYS: ended:<hash>   ARGV: the time, and for how long it is remembered, both in milliseconds
local ended = redis.call('GET', KEYS[1])
if not ended or tonumber(ended) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
