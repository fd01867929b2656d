-- Add a row about the audit trail itself behind the last row, with the number of that one.
--
-- It runs on a full store, too: what it tells of makes data smaller.
--
-- KEYS  1 audit  2 (may be absent) a stream, from which an entry is removed in the same step
-- ARGV  the id of that entry if there is a stream, then fields and their texts
-- Returns the id of the row; nothing if the stream has no such entry, and then no row is added.

local first = 1
if KEYS[2] then
  if redis.call('XDEL', KEYS[2], ARGV[1]) == 0 then
    return false
  end
  first = 2
end
local number, part = '0', '0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then
      number, part = string.match(info[at + 1], '^(%d+)%-(%d+)$')
    end
  end
end
return redis.call('XADD', KEYS[1], string.format('%s-%.0f', number, tonumber(part) + 1), unpack(ARGV, first))
