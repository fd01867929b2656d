-- Erase the facts about the callers of one key: networks and user agents. Counts and times stay.
--
-- It runs on a full store, too, because it only makes data smaller.
--
-- KEYS  1 usage of the key; 2 its open usage; the rest: its callers by hour, and logs of its networks
--         by day
-- ARGV  1 '1': permanently, because the key is deleted. The mark 'gone' makes commit_usage.lua
--         drop the facts of requests that the meter counts later. '2': only end that, erase nothing
-- Returns the number of facts that were erased.

local LATE = 10800  -- seconds: longer than the meter accepts entries of an ended request
local STATE = '>BI3i7i7i7BI5I7I3I5I5I2Bssss'  -- see key_usage.lua
local GONE, SECRET, NETWORK, AGENT = 6, 15, 16, 17
local name, open, erased = KEYS[1], KEYS[2], 0

-- Blank the latest use in the open usage, and mark it. A garbled one is removed as a whole, because
-- its counts cannot be read either. Return the field of the hash that has its latest use otherwise, or
-- nil if it has no fact of a caller.
local function blank_open(gone)
  local text = redis.call('GET', open)
  if not text then
    return nil
  end
  local state = {pcall(struct.unpack, STATE, text)}
  if not table.remove(state, 1) then
    redis.call('DEL', open)
    return 'garbled'
  end
  local had, rows = state[NETWORK] ~= '' or state[AGENT] ~= '', string.sub(text, state[AGENT + 1])
  if ARGV[1] ~= '2' then
    state[NETWORK], state[AGENT] = '', ''
  end
  state[GONE] = gone or state[GONE]
  redis.call('SET', open, struct.pack(STATE, unpack(state, 1, AGENT)) .. rows, 'KEEPTTL')
  return had and (state[SECRET] == '' and 'last' or 's:' .. state[SECRET]) or nil
end

if ARGV[1] == '2' then
  redis.call('HDEL', name, 'gone')
  blank_open(0)
  return 0
end
local in_open = blank_open(ARGV[1] == '1' and 1 or nil)
erased = in_open and 1 or 0

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
      erased = erased + (field == in_open and 0 or 1)
    end
  end
end
for at = 3, #KEYS do
  erased = erased + redis.call('DEL', KEYS[at])
end
return erased
