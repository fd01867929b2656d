-- Counts in few bytes. Stands before key_usage.lua; storage/usage/packed_counts.py reads them.
--
-- A number has seven bits in each byte, the lowest first. The high bit says that more bytes follow.
-- The bytes 128 and 0 before a number make it negative.
-- A row is a list of numbers: its slot less that of its block, the route, how many counts, the counts.
-- A block is its rows, then the length of them in 3 bytes, and the slot of the block in 4.

local LARGEST = 9007199254740991  -- 2^53 - 1
local TRAILER = 7    -- bytes of a block after its rows
local STACK = 4000   -- values that are on the stack at once
local char, byte, sub, floor = string.char, string.byte, string.sub, math.floor
local full = 0       -- how many counters stay at their largest value

local function packed(number)
  if number < 0 then
    return '\128\0' .. packed(-number)
  elseif number < 128 then
    return char(number)
  elseif number < 16384 then
    return char(number % 128 + 128, floor(number / 128))
  elseif number < 2097152 then
    return char(number % 128 + 128, floor(number / 128) % 128 + 128, floor(number / 16384))
  end
  return char(number % 128 + 128) .. packed(floor(number / 128))
end

local function packed_row(slot, route, row)
  local parts = {packed(slot), packed(route), char(#row)}
  for at = 1, #row do
    parts[at + 3] = packed(row[at])
  end
  return table.concat(parts)
end

-- Return the numbers of some bytes as one list. Raises for bytes that end within a number.
local function numbers_of(text)
  local found, count, number, scale, sign = {}, 0, 0, 1, 1
  for start = 1, #text, STACK do
    for _, part in ipairs({byte(text, start, start + STACK - 1)}) do
      if part >= 128 then
        number, scale = number + (part - 128) * scale, scale * 128
      elseif part == 0 and scale > 1 then
        scale, sign = 1, -1
      else
        count = count + 1
        found[count] = sign * (number + part * scale)
        number, scale, sign = 0, 1, 1
      end
    end
  end
  if scale > 1 or sign < 0 then
    error('not packed counts')
  end
  return found
end

-- Add the numbers from `first` on of `list`, `count` of them, to a row, in place.
local function add_numbers(row, list, first, count)
  for at = 1, count do
    local number = (row[at] or 0) + list[first + at - 1]
    if number > LARGEST then
      number, full = LARGEST, full + 1
    end
    row[at] = number
  end
end

-- Add rows to `sums`: block -> {place -> row}. A place is the route * width + the slot in its block.
-- width: slots of a block. per: slots of the rows in one of the block. first: slot of the rows' block.
local function add_rows(sums, text, first, per, width)
  local list, at = numbers_of(text), 1
  while at <= #list do
    local slot, count = floor((first + list[at]) / per), list[at + 2]
    if not count or at + 2 + count > #list then
      error('not packed counts')
    end
    local block, place = floor(slot / width), list[at + 1] * width + slot % width
    local rows = sums[block] or {}
    local row = rows[place] or {}
    add_numbers(row, list, at + 3, count)
    rows[place], sums[block] = row, rows
    at = at + 3 + count
  end
end

local function block_of(rows, slot)
  return rows .. struct.pack('>I3I4', #rows, slot)
end

-- Return the length of the rows, and the slot, of the block that ends at `ends`.
local function trailer(text, ends)
  local length, slot = struct.unpack('>I3I4', text, ends - TRAILER + 1)
  if length + TRAILER > ends then
    error('not packed counts')
  end
  return length, slot
end

-- Return blocks without those that are before `oldest`, of which the last `spare` ones stay.
local function without_old(text, oldest, spare)
  local start = #text
  while start > 0 do
    local length, slot = trailer(text, start)
    if slot < oldest then
      if spare == 0 then
        break
      end
      spare = spare - 1
    end
    start = start - TRAILER - length
  end
  return sub(text, start + 1)
end

-- Return blocks with `sums` added, and the slot of the last block. width: as in add_rows, of slots
-- that are the same as those of the blocks. oldest: blocks before that slot are removed when a block
-- begins.
local function with_sums(text, sums, width, oldest)
  local lowest = math.huge
  for block in pairs(sums) do
    lowest = math.min(lowest, block)
  end
  local ends, later = #text, {}
  while ends > 0 do
    local length, slot = trailer(text, ends)
    if slot < lowest * width then
      break
    end
    local rows = sub(text, ends - TRAILER - length + 1, ends - TRAILER)
    if sums[slot / width] then
      add_rows(sums, rows, slot, 1, width)
    else
      later[slot / width] = rows
    end
    ends = ends - TRAILER - length
  end
  local is_begun = ends == #text
  local blocks = {}
  for block, rows in pairs(sums) do
    local parts, order = {}, {}
    for place in pairs(rows) do
      order[#order + 1] = place
    end
    table.sort(order)
    for at, place in ipairs(order) do
      parts[at] = packed_row(place % width, floor(place / width), rows[place])
    end
    later[block] = table.concat(parts)
  end
  for block in pairs(later) do
    blocks[#blocks + 1] = block
  end
  table.sort(blocks)
  local parts = {sub(text, 1, ends)}
  for at, block in ipairs(blocks) do
    parts[at + 1] = block_of(later[block], block * width)
  end
  local whole = table.concat(parts)
  return is_begun and without_old(whole, oldest, 0) or whole, blocks[#blocks] * width
end
