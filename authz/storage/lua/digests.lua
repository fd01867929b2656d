-- Look at some names of one partition: SCAN, and a digest of each value and its time to live.
--
-- Lists are left out: no data is a list, only the marks of a frozen store. See freeze.lua.
--
-- KEYS  1 a name of the partition, which only leads to its node
-- ARGV  1 cursor  2 pattern of the names  3 COUNT of SCAN  4.. beginnings of names to leave out
-- Returns the next cursor, then name and digest of each.

local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local reply = {found[1]}

local function is_wanted(name)
  for at = 4, #ARGV do
    if string.sub(name, 1, #ARGV[at]) == ARGV[at] then
      return false
    end
  end
  return redis.call('TYPE', name)['ok'] ~= 'list'
end

for _, name in ipairs(found[2]) do
  local text = is_wanted(name) and redis.call('DUMP', name)
  if text then
    reply[#reply + 1] = name
    reply[#reply + 1] = redis.sha1hex(text .. redis.call('PEXPIRETIME', name))
  end
end
return reply
