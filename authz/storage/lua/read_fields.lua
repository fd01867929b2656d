-- Read some fields of many records.
--
-- KEYS  the hashes of the records
-- ARGV  the fields
-- Returns the values of all fields of the first record, then of the next; nil where there is none,
-- also for a key of another type.

local found, count = {}, 0
for _, record in ipairs(KEYS) do
  local values = redis.pcall('HMGET', record, unpack(ARGV))
  for place = 1, #ARGV do
    count = count + 1
    found[count] = not values['err'] and values[place]
  end
end
return found
