-- Read many records.
--
-- KEYS  the hashes of the records
-- Returns for each key its fields and values in turn; none where there is no record, and the error
-- for a key of another type.

local found = {}
for place, record in ipairs(KEYS) do
  found[place] = redis.pcall('HGETALL', record)
end
return found
