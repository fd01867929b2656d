-- Apply one change to one key, or return the reason against it. All keys share one hash tag.
--
-- A script that fails half way keeps its writes. So it first checks all that it can, permissions
-- included. The writes are ordered so that an early end does no harm:
--   seq      alone: sidecars see a number that they have not applied, and read the log
--   log      and no more: sidecars reload a record that has not changed
--   record   and no more: seq differs, so every sidecar reloads it within one heartbeat
--   index of imported digests: an entry without an alias only costs a lookup
--   indexes, audit: no decision depends on them; a key that moves is in both lists for a moment
--   alias    of an imported key: it can be found from here on, and the rest already exists
--   publish  last: all that it announces exists
-- Sending the same change again completes the writes that an early end left out.
--
-- KEYS  1 record  2 seq  3 log  4 audit  5 all keys  6 keys of this client
--       7.. of an imported key: its possible aliases, newest first; the first is written
--       last: keys of the former client, only if the client changes; for a new key (base 0) the
--       tombstone sets of its kid and its aliases
-- ARGV  1 change id  2 base version (0: no record)  3 channel, see `announcement`  4 log length
--       5 kid  6 status
--       7 created_at  8 number of aliases in KEYS
--       9 seals of the record, as PEPPER:FIRST: and a MAC for each number from FIRST on that the
--       change may get, of 16 bytes for a compact record, else 22 characters; "": it gets no seal
--       10 the index of imported digests, which only some users may write: so it is not in KEYS
--       11 mark of the change id, see compact.py
--       12 short form of the kid, see index_members.py
--       13 number of texts of the record, then these: fields and values, or the body of a compact
--       record; then the audit fields, and for a new key its members of the tombstone sets
-- Returns {"applied"|"repeated", version}, {"conflict", version}, {"taken", kid} if an alias
-- already belongs to that kid, {"gone", kid} if the key was deleted, {"moved", number of the last
-- change} if there is no seal for the next number, or {"compact", version} if the stored record is
-- compact and the new one is not.

local record_key, seq_key, log_key, audit_key, all_key, client_key = unpack(KEYS, 1, 6)
local change_id, base, channel, log_length = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local kid, status, created_at, mark, short = ARGV[5], ARGV[6], ARGV[7], ARGV[11], ARGV[12]
local count = tonumber(ARGV[13])
local fields = {unpack(ARGV, 14, 13 + count)}
local is_compact = count == 1
local last_alias = 6 + tonumber(ARGV[8])
local tombstones = base == 0 and #KEYS - last_alias or 0
local audit = {unpack(ARGV, 14 + count, #ARGV - tombstones)}
local alias_key = last_alias > 6 and KEYS[7] or nil
local former_key = base > 0 and KEYS[last_alias + 1] or nil

local MAC = is_compact and 16 or 22
local SEARCHED = 1000 -- audit entries that are searched for a late entry of the same change

-- Return the id for the audit entry of change `seq`, or nil if the entry exists. If later entries
-- exist, the id is after them.
local function audit_id(seq)
  local text = string.format('%.0f', seq)
  for _, entry in ipairs(redis.call('XRANGE', audit_key, text, '+', 'COUNT', SEARCHED)) do
    local name, value = entry[2][3], entry[2][4]
    if value == change_id or name == 'entry' and string.sub(value, 1, #mark) == mark then
      return nil
    end
  end
  local last = last_id(audit_key)
  return last < seq and text .. '-0' or string.format('%.0f-*', last)
end

-- Return the pepper version and the MAC of the seal for change `seq`, two times "" if there shall be
-- none, or nil if the seals are for other numbers.
local function seal_of(seq)
  if ARGV[9] == '' then
    return '', ''
  end
  local pepper, first, macs = string.match(ARGV[9], '^(%w):(%d+):(.*)$')
  local start = (seq - tonumber(first)) * MAC
  if start < 0 or start + MAC > #macs then
    return nil
  end
  return pepper, string.sub(macs, start + 1, start + MAC)
end

-- Return the write of the record of change `seq` with this seal.
local function record_write(seq, pepper, mac)
  if is_compact then
    local seal = pepper == '' and string.rep('\0', 1 + MAC) or pepper .. mac
    return {'SET', record_key, struct.pack('>BI7', 1, seq) .. mark .. seal .. fields[1]}
  end
  local text = string.format('%.0f', seq)
  if pepper ~= '' then
    fields[#fields + 1] = 'seal'
    fields[#fields + 1] = pepper .. ':' .. text .. ':' .. mac
  end
  return {'HSET', record_key, 'version', text, 'change_id', change_id, unpack(fields)}
end

local version, last_change, was_compact = stored_record(record_key)
local kinds_of_keys = {[2] = 'string', [3] = 'stream', [4] = 'stream', [5] = 'zset', [6] = 'zset'}
for i = 2, #KEYS do
  local name = KEYS[i]
  local kind = kinds_of_keys[i] or (i <= last_alias and 'string' or base == 0 and 'set' or 'zset')
  local wrong = wrong_kind(name, kind)
  if wrong then
    return wrong
  end
end

for i = 7, last_alias do
  local owner = redis.call('GET', KEYS[i])
  if owner and owner ~= kid then
    return {'taken', owner}
  end
end

for i = 1, tombstones do
  if redis.call('SISMEMBER', KEYS[last_alias + i], ARGV[#ARGV - tombstones + i]) == 1 then
    return {'gone', kid}
  end
end

local repeated = last_change == (was_compact and mark or change_id)
if not repeated and version ~= base then
  return {'conflict', version}
end
if not repeated and was_compact and not is_compact then
  return {'compact', version}
end

-- Return the member by which the key stands in an index, and whether it is there in both forms: then
-- an earlier version has added its kid. See index_members.py.
local function member_in(index)
  if not is_compact then
    return kid, false
  end
  local scores = {false, false}
  if base > 0 or repeated then
    scores = redis.call('ZMSCORE', index, short, kid)
  end
  if not (scores[1] or scores[2]) then
    return is_newest_short(all_key, #short) and short or kid, false
  end
  return scores[1] and short or kid, scores[1] and scores[2]
end

local writes, seq, at, entry = {}, version, nil, nil
if repeated then
  local id = string.format('%.0f-0', seq)
  local logged = redis.call('XRANGE', log_key, id, id)[1]
  at = logged and logged[2][6]
else
  seq = next_seq(version, seq_key, log_key, audit_key)
  local pepper, mac = seal_of(seq)
  if not pepper then
    return {'moved', seq - 1}
  end
  at = now_ms()
  local text = string.format('%.0f', seq)
  writes = {
    {'SET', seq_key, text},
    {'XADD', log_key, 'MAXLEN', '~', log_length, text .. '-0',
      'kid', kid, 'status', status, 'at', at, 'change_id', change_id},
    record_write(seq, pepper, mac),
  }
  local indexing
  indexing, entry = index_writes(ARGV[10], seq, alias_key)
  for _, write in ipairs(indexing) do
    writes[#writes + 1] = write
  end
end
for _, index in ipairs({all_key, client_key}) do
  local member, is_twice = member_in(index)
  writes[#writes + 1] = {'ZADD', index, created_at, member}
  if is_twice then
    writes[#writes + 1] = {'ZREM', index, kid}
  end
end
if former_key then
  writes[#writes + 1] = {'ZREM', former_key, kid, short}
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
  notice = notice .. (entry and ' ' .. entry or '') .. ' imported'
  writes[#writes + 1] = {'SET', alias_key, kid}
end
writes[#writes + 1] = announcement(channel, notice)

return write_all(writes) or {repeated and 'repeated' or 'applied', seq}
