-- Look at some names of one partition: SCAN, and a digest of each value and its time to live.
--
-- Lists are left out: no data is a list, only the marks of a frozen store. See freeze.lua.
--
-- KEYS  1 a name of the partition, which only leads to its node
-- ARGV  1 cursor  2 pattern of the names  3 COUNT of SCAN  4 beginning of names to leave out
--       5.. names to leave out
-- Returns the next cursor, then name and digest of each.

-- The first byte of DUMP is the type, see rdb.h of the server.
local LISTS = {[1] = true, [10] = true, [14] = true, [18] = true}
local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local beginning, length, left_out = ARGV[4], #ARGV[4], {}
local reply, count = {found[1]}, 1
for at = 5, #ARGV do
  left_out[ARGV[at]] = true
end
for _, name in ipairs(found[2]) do
  if not left_out[name] and string.sub(name, 1, length) ~= beginning then
    local text = redis.call('DUMP', name)
    if text and not LISTS[string.byte(text)] then
      reply[count + 1] = name
      reply[count + 2] = redis.sha1hex(text .. redis.call('PEXPIRETIME', name))
      count = count + 2
    end
  end
end
return reply
