-- Write one record again, with a seal or in the other form, if it is still the one that was read.
--
-- The version of the record stays, so this is no change of the key: no number, no notice, no entry.
--
-- KEYS  1 record
-- ARGV  1 version  2 change id, or its mark if the record was read in the compact form; "" if it has
--       none  3.. fields and values to write, or one text: the whole record in the compact form
-- Returns 1, or 0 if the record was changed or deleted meanwhile.

local version, change, is_compact = stored_record(KEYS[1])
if version == 0 or version ~= tonumber(ARGV[1]) or (change or '') ~= ARGV[2] then
  return 0
end
local writes
if #ARGV == 3 then
  writes = {{'SET', KEYS[1], ARGV[3]}}
elseif is_compact then
  writes = {{'DEL', KEYS[1]}, {'HSET', KEYS[1], unpack(ARGV, 3)}}
else
  writes = {{'HSET', KEYS[1], unpack(ARGV, 3)}}
end
return write_all(writes) or 1
