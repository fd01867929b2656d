-- Write the seal of one record, if the record is still the one that was read.
--
-- The version of the record stays, so this is no change of the key: no number, no notice, no entry.
--
-- KEYS  1 record
-- ARGV  1 version  2 change id, "" if the record has none  3 seal
-- Returns 1, or 0 if the record was changed or deleted meanwhile.

local found = redis.call('HMGET', KEYS[1], 'version', 'change_id')
if found[1] ~= ARGV[1] or (found[2] or '') ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'seal', ARGV[3])
return 1
