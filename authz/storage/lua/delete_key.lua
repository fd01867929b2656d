-- Delete one key: its record, its aliases, and its places in the indexes and in the audit trail.
-- Tombstones and one entry about the deletion stay.
--
-- It runs on a full store, too, because it takes rights away. The writes are ordered so that an
-- early end does no harm, and sending the same deletion again completes them:
--   seq, log    sidecars forget the record, and remember the key as revoked
--   tombstones  from here on the key cannot come back
--   the rest    the record is removed last, because its version proves that nothing changed
--
-- KEYS  1 record  2 seq  3 log  4 audit  5 all keys  6 keys of the client
--       7 tombstone set of the kid, then for each alias: the alias, and its tombstone set
-- ARGV  1 change id  2 version of the record  3 channel, see `announcement`  4 log length  5 kid
--       6 short form of the kid, see index_members.py
--       7 the index of imported digests, which keeps the entries of deleted keys
--       8 tombstone of the kid, 9 number of aliases, then their tombstones
--       then the number of audit entries to remove, their ids, and the audit fields
-- Returns {"applied", version}, {"repeated", version} or {"conflict", version}; version 0 if there
-- is no record and no tombstone.

local record_key, seq_key, log_key, audit_key, all_key, client_key = unpack(KEYS, 1, 6)
local change_id, base, channel, log_length, kid, short = unpack(ARGV, 1, 6)
local aliases = tonumber(ARGV[9])
local removed = tonumber(ARGV[10 + aliases])
local ids = {unpack(ARGV, 11 + aliases, 10 + aliases + removed)}
local audit = {unpack(ARGV, 11 + aliases + removed)}

local version = stored_record(record_key)
if version == 0 then
  if redis.call('SISMEMBER', KEYS[7], ARGV[8]) == 1 then
    return {'repeated', stored_seq(seq_key)}
  end
  return {'conflict', 0}
end
if version ~= tonumber(base) then
  return {'conflict', version}
end

local seq = next_seq(version, seq_key, log_key, audit_key)
local text, at = string.format('%.0f', seq), now_ms()
local writes = {
  {'SET', seq_key, text},
  {'XADD', log_key, 'MAXLEN', '~', log_length, text .. '-0',
    'kid', kid, 'status', 'revoked', 'at', at, 'change_id', change_id},
  {'SADD', KEYS[7], ARGV[8]},
}
for _, write in ipairs((index_writes(ARGV[7], seq))) do
  writes[#writes + 1] = write
end
for i = 1, aliases do
  writes[#writes + 1] = {'SADD', KEYS[7 + 2 * i], ARGV[9 + i]}
  writes[#writes + 1] = {'DEL', KEYS[6 + 2 * i]}
end
writes[#writes + 1] = {'XADD', audit_key, text .. '-0', 'kid', kid, unpack(audit)}
if removed > 0 then
  writes[#writes + 1] = {'XDEL', audit_key, unpack(ids)}
end
writes[#writes + 1] = {'ZREM', all_key, kid, short}
writes[#writes + 1] = {'ZREM', client_key, kid, short}
writes[#writes + 1] = {'DEL', record_key}
writes[#writes + 1] = announcement(channel, text .. ' ' .. kid .. ' revoked ' .. at .. ' ' .. change_id)

return write_all(writes) or {'applied', seq}
