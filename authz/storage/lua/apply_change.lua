-- Apply one change to one key, or say why not. All keys share one hash tag.
--
-- A script that fails half way keeps what it wrote. So everything that can be checked is checked
-- first, and the writes stand in the order in which an early end does no harm:
--   seq      without the rest: sidecars see a number they have not applied and reload
--   log      without the rest: they reload a record that has not changed
--   record   without the rest: seq differs, so within a heartbeat every sidecar reloads it
--   indexes, audit: nobody decides by them
--   publish  last: what it announces is all there
-- Sending the same change again finishes what an early end left out.
--
-- KEYS  1 record  2 seq  3 log  4 audit  5 all keys  6 keys of this client
-- ARGV  1 change id  2 base version (0: no record)  3 channel  4 log length  5 kid  6 status
--       7 created_at  8 number of record fields, then those, then the audit fields
-- Returns {"applied"|"repeated", version} or {"conflict", version}.

local expected = {'hash', 'string', 'stream', 'stream', 'zset', 'zset'}
for i, kind in ipairs(expected) do
  local found = redis.call('TYPE', KEYS[i])['ok']
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

local change_id, base, channel, log_length = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local kid, status, created_at, count = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local fields = {unpack(ARGV, 9, 8 + count)}
local audit = {unpack(ARGV, 9 + count)}

-- The id after which a stream takes entries, also when its newest were deleted.
local function last_id(stream)
  if redis.call('EXISTS', stream) == 0 then
    return 0
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      return tonumber(string.match(info[i + 1], '^%d+'))
    end
  end
end

local current = redis.call('HMGET', KEYS[1], 'version', 'change_id')
local version = tonumber(current[1] or '0')
if version == nil then
  return redis.error_reply('ERR the version of ' .. KEYS[1] .. ' is garbled')
end

local seq
local repeated = current[2] == change_id
if repeated then
  seq = version
else
  if version ~= base then
    return {'conflict', version}
  end
  -- A sequence that was lost or restored from an older copy goes on after whatever is newest.
  local stored = tonumber(redis.call('GET', KEYS[2]) or '0')
  if stored == nil then
    return redis.error_reply('ERR ' .. KEYS[2] .. ' is garbled')
  end
  seq = math.max(stored, version, last_id(KEYS[3]), last_id(KEYS[4])) + 1
  local text = string.format('%.0f', seq)
  local now = redis.call('TIME')
  local at = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
  redis.call('SET', KEYS[2], text)
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', log_length, text .. '-0',
    'kid', kid, 'status', status, 'at', at, 'change_id', change_id)
  redis.call('HSET', KEYS[1], 'version', text, 'change_id', change_id, unpack(fields))
end

local text = string.format('%.0f', seq)
redis.call('ZADD', KEYS[5], created_at, kid)
redis.call('ZADD', KEYS[6], created_at, kid)
if #redis.call('XRANGE', KEYS[4], text .. '-0', text .. '-0') == 0 and last_id(KEYS[4]) < seq then
  redis.call('XADD', KEYS[4], text .. '-0', 'kid', kid, unpack(audit))
end
redis.call('PUBLISH', channel, text .. ' ' .. kid .. ' ' .. status)
return {repeated and 'repeated' or 'applied', seq}
