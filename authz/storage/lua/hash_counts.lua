-- Counts in hashes, and what all parts of commit_usage.lua share. Stands after packed_counts.lua.
--
-- The counts of all requests are in hashes of rows, one for each level and window; so are those of
-- keys that an earlier version added. A row is packed by cmsgpack.

local base, kept, now, rank  -- of this commit; commit_usage.lua sets them
local routes = {0}           -- the numbers of the commit's routes; the first: no route
local used_at = {}           -- the first use of a key in a minute, and its kid
local call, unpack_row, pack_row = redis.call, cmsgpack.unpack, cmsgpack.pack
local WINDOW = {m = 120, h = 192, d = 128, M = 128}  -- M: days by model
local SECONDS = {m = 60, h = 3600, d = 86400, M = 86400}

-- Add a row to one that is stored as `text` (false: none). Return the text of the sum, and the sum.
local function sum(text, row)
  if not text then
    return pack_row(row), row
  end
  local total = unpack_row(text)
  for at = #total + 1, #row do
    total[at] = 0
  end
  add_numbers(total, row, 1, #row)
  return pack_row(total), total
end

-- Name of the hash of a slot, and the time at which it ends.
local function window(name, level, slot)
  local number = floor(slot / WINDOW[level])
  local ends = (number + 1) * WINDOW[level] * SECONDS[level] + kept[level]
  return name .. level .. ':' .. number, ends
end

local function add(name, level, slot, field, row)
  local hash, ends = window(name, level, slot)
  local text = call('HGET', hash, field)
  call('HSET', hash, field, (sum(text, row)))
  if not text then
    call('EXPIREAT', hash, ends)
  end
end

local function count(name, day, suffix, number)
  local hash, ends = window(name, 'd', day)
  call('HINCRBY', hash, day .. suffix, number)
  call('EXPIREAT', hash, ends)
end
