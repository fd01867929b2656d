-- The usage of one key. Stands before commit_usage.lua.
--
-- A commit of a key reads and writes one string, the open usage <kid>:o. It has what changes with
-- each request: a state, the counts of the latest minute, and rows of the minutes before it as in
-- packed_counts.lua. Once these rows are long, they are folded: added to the packed strings of
-- minutes, hours and days, and to the hash of the key. So most commits of a key take two commands.

-- The state, and the positions of its values; storage/usage/open_usage.py has the same.
-- FORMAT of the whole. MONTH, and REQUESTS, DENIED, UNITS of the key in it, folded or not. GONE: 1 if
-- the key is deleted: it keeps counts and times, no facts of its callers. USED: time of the latest
-- use, then its SECRET ('': unknown), NETWORK, AGENT. NUMBER: requests of that secret that are not
-- folded. FOLDED: the latest window of hours that was folded. BASE: minute from which the slots of the
-- rows are counted. MINUTE, ROUTE, COUNT: of the counts that stand after the state, ROW. ABOUT: as in
-- the hash of the key.
local STATE = '>BI3i7i7i7BI5I7I3I5I5I2Bssss'
local FORMAT, MONTH, REQUESTS, DENIED, UNITS, GONE = 1, 2, 3, 4, 5, 6
local USED, NUMBER, FOLDED, BASE, MINUTE, ROUTE, COUNT = 7, 8, 9, 10, 11, 12, 13
local ABOUT, SECRET, NETWORK, AGENT, ROW = 14, 15, 16, 17, 18
local THIS_FORMAT = 1
-- A key in the commit, its rows, and the counts of one; storage/usage/usage_script.py has the same.
local KEY, COMMITTED, INTEGER = '>sssssI4I8I8BI4', '>I4I2B', 8
local NONE = {}
local may_overwrite       -- whether our user may run SETRANGE on open usage; commit_usage.lua sets it
local FRESH, MORE = 1, 2  -- bits of the flags of a key
local COUNTS = {}         -- the layouts of so many counts, in a commit and in a state
for count = 0, 19 do
  COUNTS[count] = '>' .. string.rep('i8', count)
end
local EARLIER = 64        -- minutes before the first row for which the next rows may be
local OPEN_BYTES = 200    -- of rows, and the value of the last character of the kid: not all at once
local HOURS, DAYS = 24, 8 -- of a block

-- Return the month since January 1970 of a day since the epoch.
-- http://howardhinnant.github.io/date_algorithms.html#civil_from_days
local months = {}
local function month_of(day)
  if not months[day] then
    local shifted = day + 719468
    local era = floor(shifted / 146097)
    local of_era = shifted - era * 146097
    local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524)
      - floor(of_era / 146096)) / 365)
    local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
    local month = floor((5 * of_year + 2) / 153)  -- 0: March
    months[day] = (year + era * 400 - 1970) * 12 + month + 2
  end
  return months[day]
end

-- What a commit of a key writes, in the end and all at once, so that garbled data changes nothing.
-- fields: of the hash of the key. texts: by name; ends: when they expire, in seconds. One table for
-- all keys, because most of them write neither.
local writes = {name = '', fields = {}, texts = {}, ends = {}, is_folded = false}
local function begin_writes(name)
  writes.name, writes.is_folded = name, false
  if next(writes.fields) or next(writes.texts) then
    writes.fields, writes.texts, writes.ends = {}, {}, {}
  end
end

-- Return the numbers, `count` of them, that begin at a position.
local function counts_at(text, at, count)
  local found = {struct.unpack(COUNTS[count], text, at)}
  found[count + 1] = nil  -- the next position
  return found
end

local function field_of(field)
  return writes.fields[field] or call('HGET', writes.name, field)
end

-- Keep the latest use of a secret; '': of a key without a known one.
local function put_use(secret, at, network, agent, number)
  local field = secret == '' and 'last' or 's:' .. secret
  local text = field_of(field)
  local row = text and unpack_row(text) or {0, '', '', 0}
  if at >= row[1] then
    row[1], row[2], row[3] = at, network, agent
  end
  row[4] = secret ~= '' and math.min(row[4] + number, LARGEST) or nil
  writes.fields[field] = pack_row(row)
end

local function put_use_of_state(state)
  if state[USED] > 0 then
    put_use(state[SECRET], state[USED], state[NETWORK], state[AGENT], state[NUMBER])
  end
  state[NUMBER] = 0
end

local function put_packed(suffix, sums, width, window, seconds, keep)
  local name = writes.name .. suffix
  local span = window * seconds
  local text = writes.texts[name] or call('GET', name) or ''
  local oldest = (floor((now - keep) / span)) * window
  local whole, newest = with_sums(text, sums, width, oldest)
  writes.texts[name], writes.ends[name] = whole, (floor(newest / window) + 1) * span + keep
end

-- Minutes are not added up again: the rows become a block as they are.
local function put_minutes(rows, first, newest)
  local name, keep = writes.name .. ':pm', kept.m + EARLIER * 60
  if newest * 60 + keep > now then
    local text = writes.texts[name] or call('GET', name) or ''
    text = without_old(text, floor((now - keep) / 60), 1)  -- its rows may be newer than its slot
    writes.texts[name], writes.ends[name] = text .. block_of(rows, first), newest * 60 + keep
  end
end

-- Begin the state of a month, with the counts that the hash of the key has of it.
local function begin_month(state, month)
  local row = field_of('y' .. month)
  row = row and unpack_row(row) or {0}
  state[MONTH] = month
  state[REQUESTS], state[DENIED], state[UNITS] = ranked_numbers(row, 1, #row)
end

-- Fold the rows and the latest use of a state. Afterwards it has no rows.
local function fold(state, rows)
  put_use_of_state(state)
  if state[MINUTE] > 0 then
    rows = rows .. packed_row(state[MINUTE] - state[BASE], state[ROUTE], state[ROW])
  end
  local hours, days, newest = {}, {}, math.max(state[MINUTE], state[BASE] + EARLIER)
  add_rows(hours, rows, state[BASE], 60, HOURS)
  add_rows(days, rows, state[BASE], 1440, DAYS)
  local total, last = {}, 0
  for block, sums in pairs(days) do
    local by_day = {}
    for place, row in pairs(sums) do
      local day = place % DAYS
      by_day[day] = by_day[day] or {}
      add_numbers(by_day[day], row, 1, #row)
      add_numbers(total, row, 1, #row)
      last = math.max(last, block * DAYS + day)
    end
    days[block] = by_day
  end
  put_packed(':ph', hours, HOURS, WINDOW.h, 3600, kept.h)
  put_packed(':pd', days, DAYS, WINDOW.d, 86400, kept.d)
  put_minutes(rows, state[BASE], newest)
  local field = 'y' .. state[MONTH]
  local stored = field_of(field)
  if not stored then  -- once a month
    local keep = math.ceil(kept.y / MEAN_MONTH)
    call('HDEL', writes.name, 'y' .. state[MONTH] - keep - 1)
  end
  writes.fields[field] = sum(stored, total)
  writes.is_folded = true
  begin_month(state, state[MONTH])
  state[FOLDED] = math.max(state[FOLDED], floor(last / 8))
  state[BASE], state[MINUTE], state[ROUTE], state[ROW] = 0, 0, 0, {}
end

-- Add the rows of a commit that are between two positions. Return the rows that are not folded.
local function add_minutes(kid, text, at, ends, state, rows)
  while at < ends do
    local minute, route, count
    minute, route, count, at = struct.unpack(COMMITTED, text, at)
    local added, month = counts_at(text, at, count), month_of(floor(minute / 1440))
    at, route = at + INTEGER * count, routes[route + 1]
    if month ~= state[MONTH] or minute < state[BASE] then
      if state[BASE] > 0 then
        fold(state, rows)
        rows = ''
      end
      begin_month(state, month)
    end
    if minute == state[MINUTE] and route == state[ROUTE] then
      add_numbers(state[ROW], added, 1, count)
    else
      if state[BASE] == 0 then
        state[BASE] = math.max(minute - EARLIER, 1)
      end
      if state[MINUTE] > 0 then
        rows = rows .. packed_row(state[MINUTE] - state[BASE], state[ROUTE], state[ROW])
      end
      state[MINUTE], state[ROUTE], state[ROW] = minute, route, added
    end
    local requests, denied, units = ranked_numbers(added, 1, count)
    requests = math.min(state[REQUESTS] + requests, LARGEST)
    denied = math.min(state[DENIED] + denied, LARGEST)
    units = math.min(state[UNITS] + units, LARGEST)
    state[REQUESTS], state[DENIED], state[UNITS] = requests, denied, units
    rank(kid, month, requests, denied, units)
  end
  return rows
end

-- Keep the owners of a key, unless newer ones are known. minute: in which they were seen.
local function put_about(about, minute, state)
  if minute >= tonumber(call('HGET', writes.name, 'about_minute') or 0) then
    local fields = writes.fields
    fields.about, fields.about_minute, fields['about:' .. floor(minute / 60)] = about, minute, about
    state[ABOUT] = about
  end
end

-- start, before: the length of what stands before the rows, and the rows, as `open_usage` found them.
local function write(state, rows, start, before)
  local name = writes.name
  if next(writes.fields) then
    local changes = {}
    for field, text in pairs(writes.fields) do
      changes[#changes + 1] = field
      changes[#changes + 1] = text
    end
    call('HSET', name, unpack(changes))
    call('EXPIRE', name, kept.y)
  end
  for packed_name, text in pairs(writes.texts) do
    call('SET', packed_name, text, 'EXAT', writes.ends[packed_name])
  end
  local row, open = state[ROW], name .. ':o'
  state[COUNT] = #row
  local text = struct.pack(STATE, unpack(state, FORMAT, AGENT))
    .. struct.pack(COUNTS[#row], unpack(row))
  if start == 0 or writes.is_folded then
    call('SET', open, text .. rows, 'EX', kept.y)
  elseif may_overwrite and #text == start and rows == before then  -- nearly always
    call('SETRANGE', open, 0, text)
  else
    call('SET', open, text .. rows, 'KEEPTTL')
  end
end

-- Return the state, the rows, and the length of what stands before them: 0 without open usage.
local function open_usage(name)
  local text = call('GET', name .. ':o')
  if not text then
    local about, gone = unpack(call('HMGET', name, 'about', 'gone'))
    local state = {THIS_FORMAT, 0, 0, 0, 0, gone and 1 or 0, 0, 0, 0, 0, 0, 0, 0, about or '', '', '', ''}
    state[ROW] = {}
    return state, '', 0
  end
  local state = {struct.unpack(STATE, text)}
  local at, count = state[ROW], state[COUNT]
  if state[FORMAT] ~= THIS_FORMAT then
    error('another format')
  end
  state[ROW] = counts_at(text, at, count)
  at = at + INTEGER * count
  return state, sub(text, at), at - 1
end

-- Add a use of a secret. Only that of the latest one is in the state.
local function add_use(state, secret, used, network, agent, number)
  if state[GONE] == 1 then
    network, agent = '', ''
  end
  if secret ~= state[SECRET] then
    if used < state[USED] then
      return put_use(secret, used, network, agent, number)
    end
    put_use_of_state(state)
    state[SECRET] = secret
  end
  state[NUMBER] = math.min(state[NUMBER] + number, LARGEST)
  if used >= state[USED] then
    state[USED], state[NETWORK], state[AGENT] = used, network, agent
  end
end

-- secret, used, network, agent, number: the latest use of the key; number: requests of that secret.
-- flags: FRESH if its network and user agent may be new to the store, MORE if there is more. more:
-- denials, latest denials, {hour, networks, families of user agents}..., and other secrets with their
-- latest use. text, at, ends: the rows.
local function add_key(more, text, kid, about, secret, network, agent, about_minute, used, number,
    flags, at, ends)
  begin_writes(base .. kid)
  local state, before, start = open_usage(writes.name)
  local rows = before
  local before_used, before_network = state[USED], state[NETWORK]
  local hour = floor(used / 3600)
  local is_caller_new = network ~= before_network or agent ~= state[AGENT]
    or hour ~= floor(before_used / 3600)
  if about ~= '' and about ~= state[ABOUT] then
    put_about(about, about_minute, state)
  end
  add_use(state, secret, used, network, agent, number)
  if more then
    for _, use in ipairs(more[4]) do
      add_use(state, unpack(use))
    end
  end
  rows = add_minutes(kid, text, at, ends, state, rows)
  if #rows > OPEN_BYTES + byte(kid, -1) then
    fold(state, rows)
    rows = ''
  end
  write(state, rows, start, before)
  if floor(used / 60) > floor(before_used / 60) then
    used_at[#used_at + 1] = used
    used_at[#used_at + 1] = kid
  end
  if more then
    add_denials(writes.name, more[1], more[2], state[GONE] == 1)
  end
  if state[GONE] == 1 then
    return
  end
  if flags % 2 == FRESH and is_caller_new then
    add_callers(writes.name, {hour, {network}, {agent}}, before_used, before_network)
  end
  for _, found in ipairs(more and more[3] or NONE) do
    add_callers(writes.name, found, before_used, before_network)
  end
end

-- Add all keys of a commit. more: by kid. Return how many have data that cannot be read.
local function add_keys(text, more)
  local at, garbled = 1, 0
  while at <= #text do
    local kid, about, secret, network, agent, about_minute, used, number, flags, length, first =
      struct.unpack(KEY, text, at)
    at = first + length
    local has_more = flags >= MORE and more[kid]
    if not pcall(add_key, has_more, text, kid, about, secret, network, agent, about_minute, used,
        number, flags, first, at) then
      garbled = garbled + 1
    end
  end
  return garbled
end
