-- Apply one change to one key, or say why not. All keys share one hash tag.
--
-- A script that fails half way keeps what it wrote. So everything that can be checked is checked
-- first, permissions too, and the writes stand in the order in which an early end does no harm:
--   seq      without the rest: sidecars see a number they have not applied and reload
--   log      without the rest: they reload a record that has not changed
--   record   without the rest: seq differs, so within a heartbeat every sidecar reloads it
--   indexes, audit: nobody decides by them; a key that moves is in both lists before it leaves one
--   alias    of an imported key: only now can it be found, and all else is there
--   publish  last: what it announces is all there
-- Sending the same change again finishes what an early end left out.
--
-- KEYS  1 record  2 seq  3 log  4 audit  5 all keys  6 keys of this client
--       7.. of an imported key: what may be its alias, newest first; the first is written
--       then keys of the client that it leaves, only where it does
-- ARGV  1 change id  2 base version (0: no record)  3 channel  4 log length  5 kid  6 status
--       7 created_at  8 number of aliases in KEYS  9 number of record fields, then those, then the
--       audit fields
-- Returns {"applied"|"repeated", version}, {"conflict", version}, or {"taken", kid} when the key was
-- imported before as that kid.

local record_key, seq_key, log_key, audit_key, all_key, client_key = unpack(KEYS, 1, 6)
local change_id, base, channel, log_length = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local kid, status, created_at, count = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[9])
local fields = {unpack(ARGV, 10, 9 + count)}
local audit = {unpack(ARGV, 10 + count)}
local last_alias = 6 + tonumber(ARGV[8])
local alias_key, former_key = last_alias > 6 and KEYS[7] or nil, KEYS[last_alias + 1]

local SEARCHED = 1000 -- audit entries after a change among which a late one of its own may be

-- A whole number that a double holds exactly. tonumber alone takes 'nan', '0x10' and '1e9' too.
local function whole(what, text)
  if #text > 15 or not string.find(text, '^%d+$') then
    error({err = 'ERR ' .. what .. ' is not a number to go on from'})
  end
  return tonumber(text)
end

-- The id after which a stream takes entries, also when its newest were deleted.
local function last_id(stream)
  if redis.call('EXISTS', stream) == 0 then
    return 0
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      return whole('the last id of ' .. stream, string.match(info[i + 1], '^[^-]*'))
    end
  end
end

-- Where the audit entry of change `seq` goes, or nil when it is there. Others may have come between.
local function audit_id(seq)
  local text = string.format('%.0f', seq)
  for _, entry in ipairs(redis.call('XRANGE', audit_key, text, '+', 'COUNT', SEARCHED)) do
    if entry[2][4] == change_id then
      return nil
    end
  end
  local last = last_id(audit_key)
  return last < seq and text .. '-0' or string.format('%.0f-*', last)
end

local kinds = {'hash', 'string', 'stream', 'stream', 'zset', 'zset'}
for i, name in ipairs(KEYS) do
  local kind = kinds[i] or (i <= last_alias and 'string' or 'zset')
  local found = redis.call('TYPE', name)['ok']
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE ' .. name .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

for i = 7, last_alias do
  local owner = redis.call('GET', KEYS[i])
  if owner and owner ~= kid then
    return {'taken', owner}
  end
end

local current = redis.call('HMGET', record_key, 'version', 'change_id')
local version = whole('the version of ' .. record_key, current[1] or '0')
local repeated = current[2] == change_id
if not repeated and version ~= base then
  return {'conflict', version}
end

local writes, seq, at = {}, version, nil
if repeated then
  local id = string.format('%.0f-0', seq)
  local entry = redis.call('XRANGE', log_key, id, id)[1]
  at = entry and entry[2][6]
else
  -- A sequence that was lost or restored from an older copy goes on after whatever is newest.
  local stored = whole(seq_key, redis.call('GET', seq_key) or '0')
  seq = math.max(stored, version, last_id(log_key), last_id(audit_key)) + 1
  local text = string.format('%.0f', seq)
  local now = redis.call('TIME')
  at = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
  writes = {
    {'SET', seq_key, text},
    {'XADD', log_key, 'MAXLEN', '~', log_length, text .. '-0',
      'kid', kid, 'status', status, 'at', at, 'change_id', change_id},
    {'HSET', record_key, 'version', text, 'change_id', change_id, unpack(fields)},
  }
end
writes[#writes + 1] = {'ZADD', all_key, created_at, kid}
writes[#writes + 1] = {'ZADD', client_key, created_at, kid}
if former_key then
  writes[#writes + 1] = {'ZREM', former_key, kid}
end
local place = audit_id(seq)
if place then
  writes[#writes + 1] = {'XADD', audit_key, place, 'kid', kid, unpack(audit)}
end
local notice = string.format('%.0f %s %s', seq, kid, status)
if at then
  notice = notice .. ' ' .. at .. ' ' .. change_id
end
if alias_key then
  notice = notice .. ' imported'
  writes[#writes + 1] = {'SET', alias_key, kid}
end
writes[#writes + 1] = {'PUBLISH', channel, notice}

for _, write in ipairs(writes) do
  if not redis.acl_check_cmd(unpack(write)) then
    return redis.error_reply('NOPERM this user may not ' .. write[1] .. ' ' .. write[2])
  end
end
for _, write in ipairs(writes) do
  redis.call(unpack(write))
end
return {repeated and 'repeated' or 'applied', seq}
