-- Read many records.
--
-- KEYS  the records
-- Returns for each key its fields and values in turn, or the text of a compact record; no fields
-- where there is no record, and the error for a key of another type.

local found = {}
for place, record in ipairs(KEYS) do
  local text = redis.pcall('GET', record)
  found[place] = type(text) == 'string' and text or redis.pcall('HGETALL', record)
end
return found
