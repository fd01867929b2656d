-- Functions of the scripts that make a change: numbers of changes, and writes that are all allowed.
--
-- They stand before the text of each of these scripts.

-- Facts about the store that this call has found. Only this call writes while it runs, and it keeps
-- `last_ids` up to date. So a call with several changes asks for each of them once.
local kinds, last_ids, allowed = {}, {}, {}

-- Return whether this user may run a command, by the command and its first argument, a key.
local function may(command, key, ...)
  local name = command .. ' ' .. key
  if not allowed[name] then
    allowed[name] = redis.acl_check_cmd(command, key, ...)
  end
  return allowed[name]
end

-- Return an error if a key has another kind than this one; a missing key has any.
local function wrong_kind(name, kind)
  if kinds[name] == kind then
    return nil
  end
  local found = redis.call('TYPE', name)['ok']
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE ' .. name .. ' is a ' .. found .. ', not a ' .. kind)
  end
  kinds[name] = kind
end

-- Return a whole number that a double holds exactly. tonumber also takes 'nan', '0x10' and '1e9'.
local function whole(name, text)
  if #text > 15 or not string.find(text, '^%d+$') then
    error({err = 'ERR ' .. name .. ' is not a whole number'})
  end
  return tonumber(text)
end

-- Return the version of a stored record, its change id, and false; of a compact record the version,
-- the mark of its change id, and true: see compact.py. The version is 0 without a record.
local COMPACT, HEAD = '>BI7c16', 41
local function stored_record(name)
  local kind = redis.call('TYPE', name)['ok']
  if kind == 'string' then
    local text = redis.call('GET', name)
    local form, version, mark = string.byte(text), 0, nil
    if #text >= HEAD then
      form, version, mark = struct.unpack(COMPACT, text)
    end
    if not mark or form ~= 1 or version >= 1e15 then
      error({err = 'ERR ' .. name .. ' is damaged, or of a newer version'})
    end
    return version, mark, true
  elseif kind == 'hash' or kind == 'none' then
    local found = redis.call('HMGET', name, 'version', 'change_id')
    return whole('the version of ' .. name, found[1] or '0'), found[2], false
  end
  error({err = 'WRONGTYPE ' .. name .. ' is a ' .. kind .. ', not a record'})
end

-- Return the highest id that a stream ever had, also if its newest entries were deleted.
local function last_id(stream)
  if last_ids[stream] then
    return last_ids[stream]
  end
  if redis.call('EXISTS', stream) == 0 then
    return 0
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last_ids[stream] = whole('the last id of ' .. stream, string.match(info[i + 1], '^[^-]*'))
      return last_ids[stream]
    end
  end
end

-- Return whether the newest key stands in the index of all keys by a member of this length, or there
-- is no key. New keys get the form of the newest one, so the answer holds for the whole call.
local newest_is_short
local function is_newest_short(index, length)
  if newest_is_short == nil then
    local newest = redis.call('ZREVRANGE', index, 0, 0)[1]
    newest_is_short = not newest or #newest == length
  end
  return newest_is_short
end

-- Return the number of the last change, 0 without one.
local function stored_seq(seq_key)
  return whole(seq_key, redis.call('GET', seq_key) or '0')
end

-- Return the number of the next change. If seq was lost or restored from an older copy, it continues
-- after the highest number found.
local function next_seq(version, seq_key, ...)
  local highest = math.max(stored_seq(seq_key), version)
  for _, stream in ipairs({...}) do
    highest = math.max(highest, last_id(stream))
  end
  return highest + 1
end

-- Return the time now in ms, as text.
local function now_ms()
  local now = redis.call('TIME')
  return string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
end

-- Return the writes that bring the index of imported digests to change `seq`, and the number and the
-- text of the new entry if there is an alias. None if the index is not at the change before, and if
-- this user may not write it: then it stays behind, and sidecars see that entries may be missing.
-- See index_state.py.
local function index_writes(index, seq, alias)
  if not may('SETRANGE', index, 0, '') then
    return {}
  end
  local state = redis.pcall('GETRANGE', index, 0, 45)
  if type(state) ~= 'string' or state == '' then
    return {}
  end
  local at, count, sum = string.match(state, '^(%d+) (%d+) (%d+)\n$')
  if tonumber(at) ~= seq - 1 then
    return {}
  end
  local entry = alias and string.sub(string.match(alias, '%x+$'), 1, 12)
  if entry then
    if not may('APPEND', index, entry) then
      return {}
    end
    count, sum = count + 1, (sum + tonumber(entry, 16)) % 2 ^ 48
  end
  state = string.format('%016.0f %012.0f %015.0f\n', seq, count, sum)
  local writes = {{'SETRANGE', index, 0, state}}
  if not entry then
    return writes
  end
  writes[2] = {'APPEND', index, entry}
  return writes, string.format('%.0f:%s', count, entry)
end

-- Return the write that sends a notice. channel: its name; on a cluster the command stands before it.
local function announcement(channel, notice)
  local command, name = string.match(channel, '^(%u+) (.*)$')
  return {command or 'PUBLISH', name or channel, notice}
end

-- Do all writes. If one of them is not permitted, do none and return the error.
local function write_all(writes)
  for _, write in ipairs(writes) do
    if not may(unpack(write)) then
      return redis.error_reply('NOPERM this user may not ' .. write[1] .. ' ' .. write[2])
    end
  end
  for _, write in ipairs(writes) do
    local reply = redis.call(unpack(write))
    if write[1] == 'XADD' then
      last_ids[write[2]] = whole('the new id of ' .. write[2], string.match(reply, '^[^-]*'))
    end
  end
end
