-- Erase the facts about the callers of one key: networks and user agents. Counts and times stay.
--
-- It runs on a full store, too, because it only makes data smaller.
--
-- KEYS  1 usage of the key; the rest: its callers by hour, and logs of its networks by day
-- ARGV  1 '1': permanently, because the key is deleted. The mark 'gone' makes commit_usage.lua
--         drop the facts of requests that the meter counts later
-- Returns the number of facts that were erased.

local LATE = 10800  -- seconds: longer than the meter accepts entries of an ended request
local name, erased = KEYS[1], 0

-- A garbled field cannot be told to be free of such facts, so it is removed as a whole.
local function blanked(text)
  local is_array, row = pcall(cmsgpack.unpack, text)
  if not is_array or type(row) ~= 'table' or type(row[1]) ~= 'number' then
    return nil
  end
  if row[2] == '' and row[3] == '' then
    return text
  end
  row[2], row[3] = '', ''
  return cmsgpack.pack(row)
end

-- The networks of the latest denials; see commit_usage.lua.
local function blanked_denials(text)
  local is_array, row = pcall(cmsgpack.unpack, text)
  if not is_array or type(row) ~= 'table' or #row % 7 ~= 0 then
    return nil
  end
  for at = 5, #row, 7 do
    row[at] = ''
  end
  return cmsgpack.pack(row)
end

if ARGV[1] == '1' then
  local is_new = redis.call('EXISTS', name) == 0
  redis.call('HSET', name, 'gone', '1')
  if is_new then
    redis.call('EXPIRE', name, LATE)
  end
end
local fields = redis.call('HGETALL', name)
for at = 1, #fields, 2 do
  local field, text = fields[at], fields[at + 1]
  local blanks = field == 'denied' and blanked_denials
  if field == 'last' or string.sub(field, 1, 2) == 's:' then
    blanks = blanked
  end
  if blanks then
    local blank = blanks(text)
    if not blank then
      redis.call('HDEL', name, field)
      erased = erased + 1
    elseif blank ~= text then
      redis.call('HSET', name, field, blank)
      erased = erased + 1
    end
  end
end
for at = 2, #KEYS do
  erased = erased + redis.call('DEL', KEYS[at])
end
return erased
