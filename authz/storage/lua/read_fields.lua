-- Read some fields of many records.
--
-- KEYS  the records
-- ARGV  the fields
-- Returns for each record the values of all fields, nil where there is none; none for a key of
-- another type. For a compact record its text.

local found = {}
for place, record in ipairs(KEYS) do
  local text = redis.pcall('GET', record)
  if type(text) ~= 'string' then
    text = redis.pcall('HMGET', record, unpack(ARGV))
    if text['err'] then
      text = {}
    end
  end
  found[place] = text
end
return found
