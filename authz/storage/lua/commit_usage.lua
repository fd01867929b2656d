-- Add the usage of some batches to the counts, or add nothing if one of them was counted before.
--
-- The digest of a batch names it. Envoy sends a batch again with the same bytes until it is
-- confirmed. So the digests and all increments are written in this one step. Digests are kept for
-- two to three hours by the store's clock, longer than anybody repeats a batch.
--
-- KEYS  1 the beginning of all names: authz:{p}:use:
-- ARGV  1 the name of authz:meta, which is only looked for: a user of the store may not write it
--       2 the time of arrival of the oldest batch, in ms by the store's clock. Batches that waited
--         for longer than an hour are not counted: their digests may be forgotten soon
--       3 seconds for which rows are kept, by level, as JSON: {m, h, d, y}; and s, for which a
--         caller is remembered, 0 or missing: not at all
--       4 the commit as JSON; see usage_script.py
--       5 and more: the digests
-- Returns {now in ms, result, ...}: 0 and the number of counters that stay at their largest value
--   and of keys whose data cannot be read; 1 and the positions of the digests that are known;
--   2 if the batches are too old; 3 if the store has no authz:meta; 4 if the commit has a minute
--   that is closed by now, which the meter then leaves out.

local LATE_MS = 3600000
local LARGEST = 9007199254740991  -- 2^53 - 1
local BLOCK = 4096      -- charge ids of a block
local MAX_BLOCKS = 512  -- incomplete blocks kept for each process
local ROUTES = 10000    -- a field of hours is: hour in its window * ROUTES + number of the route
local call, unpack_row, pack_row = redis.call, cmsgpack.unpack, cmsgpack.pack
local floor, base = math.floor, KEYS[1]
local clock = call('TIME')
local now = tonumber(clock[1])
local now_ms = now * 1000 + floor(clock[2] / 1000)

if call('EXISTS', ARGV[1]) == 0 then
  return {now_ms, 3}
end
if now_ms - tonumber(ARGV[2]) > LATE_MS then
  return {now_ms, 2}
end
local digests = {}
for at = 5, #ARGV do
  digests[#digests + 1] = ARGV[at]
end
local hour = floor(now / 3600)
local newest = base .. 'seen:' .. hour
if #digests > 0 then
  local known = {}
  for back = 0, 2 do
    local found = call('SMISMEMBER', base .. 'seen:' .. hour - back, unpack(digests))
    for at, is_known in ipairs(found) do
      if is_known == 1 then
        known[#known + 1] = at
      end
    end
  end
  if #known > 0 then
    return {now_ms, 1, unpack(known)}
  end
end

local kept, commit = cjson.decode(ARGV[3]), cjson.decode(ARGV[4])
local until_ms = commit.until_ms or 0  -- earlier meters do not say it
if until_ms > 0 and now_ms >= until_ms then
  return {now_ms, 4}
end
if #digests > 0 then
  call('SADD', newest, unpack(digests))
  call('EXPIRE', newest, 10800)
end
local full, garbled = 0, 0
local WINDOW = {m = 120, h = 192, d = 128, M = 128}  -- M: days by model
local SECONDS = {m = 60, h = 3600, d = 86400, M = 86400}
kept.M = kept.d
local rank, end_rankings = rankings(base, now, kept.y)

-- Add a row to one that is stored as `text` (false: none). Return the text of the sum, and the sum.
local function sum(text, row)
  if not text then
    return pack_row(row), row
  end
  local total = unpack_row(text)
  for at = #total + 1, #row do
    total[at] = 0
  end
  for at = 1, #row do
    local number = total[at] + row[at]
    if number > LARGEST then
      number, full = LARGEST, full + 1
    end
    total[at] = number
  end
  return pack_row(total), total
end

-- Name of the hash of a slot, and the time at which it ends.
local function window(name, level, slot)
  local number = floor(slot / WINDOW[level])
  local ends = (number + 1) * WINDOW[level] * SECONDS[level] + kept[level]
  return name .. level .. ':' .. number, ends
end

local function add(name, level, slot, field, row)
  local hash, ends = window(name, level, slot)
  local text = call('HGET', hash, field)
  call('HSET', hash, field, (sum(text, row)))
  if not text then
    call('EXPIREAT', hash, ends)
  end
end

local function count(name, day, suffix, number)
  local hash, ends = window(name, 'd', day)
  call('HINCRBY', hash, day .. suffix, number)
  call('EXPIREAT', hash, ends)
end

-- Routes have small numbers, so that their names are stored once. 0: no name, or too many.
local routes = {0}
if #commit.routes > 0 then
  local found = call('HMGET', base .. 'routes', unpack(commit.routes))
  for at, name in ipairs(commit.routes) do
    local number = found[at]
    if not number then
      number = call('HLEN', base .. 'routes') + 1
      if number >= ROUTES then
        number = 0
      else
        call('HSET', base .. 'routes', name, number)
      end
    end
    routes[at + 1] = tonumber(number)
  end
end

-- Remember in which hours callers were seen; core/usage/anomalies/sightings.py says how. A field has
-- {an hour with so many callers that no more are kept, name, first, last, recent, name, ...}
-- kind: the field, n for networks, a for families of user agents
local MEMORY, MOST, SIGHTINGS, PARTS = 8, 16, 40, 4
local function was_seen(last, recent, hour)
  local back = last - hour
  return back >= 0 and back < MEMORY and bit.band(bit.rshift(recent, back), 1) == 1
end

-- Return whether a caller that is not in the row may be added, and make room for it.
local function has_room(row, hour)
  if row[1] == hour then
    return false
  end
  local seen, oldest = 0, nil
  for at = 2, #row, PARTS do
    local name, last = row[at], row[at + 2]
    seen = seen + (was_seen(last, row[at + 3], hour) and 1 or 0)
    if not oldest or last < row[oldest + 2] or last == row[oldest + 2] and name < row[oldest] then
      oldest = at
    end
  end
  if seen >= MOST then
    row[1] = hour
    return false
  end
  if #row > SIGHTINGS * PARTS then
    for _ = 1, PARTS do
      table.remove(row, oldest)
    end
  end
  return true
end

local function see(hash, kind, hour, names)
  if #names == 0 then
    return
  end
  local text = call('HGET', hash, kind)
  local row = text and unpack_row(text) or {-1}
  for _, name in ipairs(names) do
    local place
    for at = 2, #row, PARTS do
      if row[at] == name then
        place = at
      end
    end
    if not place then
      if has_room(row, hour) then
        for _, part in ipairs({name, hour, hour, 1}) do
          row[#row + 1] = part
        end
      end
    else
      local first, last, recent = unpack(row, place + 1, place + 3)
      local back = last - hour
      if back < 0 then
        local moved = back > -MEMORY and bit.band(bit.lshift(recent, -back), 255) or 0
        last, recent = hour, bit.bor(moved, 1)
      elseif back < MEMORY then
        first, recent = math.min(first, hour), bit.bor(recent, bit.lshift(1, back))
      end
      row[place + 1], row[place + 2], row[place + 3] = first, last, recent
    end
  end
  call('HSET', hash, kind, pack_row(row))
  call('EXPIRE', hash, kept.s)
end

local function is_newer(text, at)
  return not text or unpack_row(text)[1] <= at
end

-- Return the latest denials as one row, the newest first. text: the row until now (false: none).
-- found: lists of at, reason, route, code, network, method, requests; those of a row follow each
-- other. Denials of one minute, reason, route and code are one.
local DENIAL, DENIALS = 7, 20  -- parts of a denial, denials of a row
local function latest_denials(text, found, is_gone)
  local before = text and unpack_row(text) or {}
  for at = 1, #before, DENIAL do
    found[#found + 1] = {unpack(before, at, at + DENIAL - 1)}
  end
  table.sort(found, function(a, b) return a[1] > b[1] end)
  local merged, by_case = {}, {}
  for _, denial in ipairs(found) do
    local case = table.concat({floor(denial[1] / 60), unpack(denial, 2, 4)}, ' ')
    local newer = by_case[case]
    if newer then
      newer[DENIAL] = math.min(newer[DENIAL] + denial[DENIAL], LARGEST)
    elseif #merged < DENIALS then
      by_case[case], merged[#merged + 1] = denial, denial
    end
  end
  local row = {}
  for _, denial in ipairs(merged) do
    for part, value in ipairs(denial) do
      row[#row + 1] = is_gone and part == 5 and '' or value
    end
  end
  return pack_row(row)
end

-- usage: kid, about, about_minute, time of the latest use, {at, network, agent} if no secret has
-- it, secrets, rows, denials, networks by day, latest denials, {hour, networks, families of user
-- agents}... Earlier meters have neither of the two last ones
local function add_key(usage)
  local kid, about, about_minute, used_at, latest, secrets, rows, denials, networks, denied, callers =
    unpack(usage)
  local name = base .. kid
  local fields, months = {'about', 'last'}, {}
  for at, secret in ipairs(secrets) do
    fields[at + 2] = 's:' .. secret[1]
  end
  for _, row in ipairs(rows) do
    local field = 'y' .. row[2]
    if not months[field] then
      months[field] = true
      fields[#fields + 1] = field
    end
  end
  fields[#fields + 1] = 'gone'
  local stored = call('HMGET', name, unpack(fields))
  local is_gone = stored[#fields]  -- a deleted key keeps counts and times, no facts of its callers
  local changes = {}
  local function change(field, value)
    changes[#changes + 1] = field
    changes[#changes + 1] = value
  end
  if about ~= '' and about ~= stored[1] then
    local minute = tonumber(call('HGET', name, 'about_minute') or 0)
    if about_minute >= minute then
      change('about', about)
      change('about_minute', about_minute)
      change('about:' .. floor(about_minute / 60), about)
    end
  end
  if used_at > 0 then
    call('ZADD', base .. 'last', 'GT', used_at, kid)
  end
  if latest ~= 0 and is_newer(stored[2], latest[1]) then
    change('last', pack_row(is_gone and {latest[1], '', ''} or latest))
  end
  for at, secret in ipairs(secrets) do
    local text = stored[at + 2]
    local _, at_time, network, agent, number = unpack(secret)
    local before = text and unpack_row(text) or {0, '', '', 0}
    before[4] = math.min(before[4] + number, LARGEST)
    if at_time >= before[1] then
      before[1], before[2], before[3] = at_time, network, agent
    end
    if is_gone then
      before[2], before[3] = '', ''
    end
    change(fields[at + 2], pack_row(before))
  end
  if denied and #denied > 0 then
    change('denied', latest_denials(call('HGET', name, 'denied'), denied, is_gone))
  end
  local first_month = 2 + #secrets
  local texts = {}
  for at = first_month + 1, #fields do
    texts[fields[at]] = stored[at]
  end
  local is_new = false
  for _, row in ipairs(rows) do
    local field, total = 'y' .. row[2], nil
    is_new = is_new or not texts[field]
    texts[field], total = sum(texts[field], row[4])
    rank(kid, row[2], total)
  end
  for field in pairs(months) do
    change(field, texts[field])
  end
  if #changes > 0 then
    call('HSET', name, unpack(changes))
  end
  if is_new then  -- once a month
    call('HDEL', name, 'y' .. rows[1][2] - math.ceil(kept.y / 2629800) - 1)
  end
  if is_new or not (stored[1] or stored[2]) then
    call('EXPIRE', name, kept.y)
  end
  name = name .. ':'
  for _, row in ipairs(rows) do
    local minute, route, numbers = row[1], routes[row[3] + 1], row[4]
    local hour, day = floor(minute / 60), floor(minute / 1440)
    add(name, 'm', minute, minute, numbers)
    add(name, 'h', hour, hour % WINDOW.h * ROUTES + route, numbers)
    add(name, 'd', day, day, numbers)
  end
  for _, denial in ipairs(denials) do
    count(name, denial[1], '!' .. denial[2], denial[3])
  end
  for _, found in ipairs(is_gone and {} or networks) do
    local day, log = found[1], name .. 'net:' .. found[1]
    if call('PFADD', log, unpack(found[2])) == 1 then
      call('EXPIREAT', log, (day + 3) * 86400)
      local number = call('PFCOUNT', log)
      if number > 1 then  -- most keys are used from one network
        local hash, ends = window(name, 'd', day)
        call('HSET', hash, day .. 'n', number)
        call('EXPIREAT', hash, ends)
      end
    end
  end
  local is_watched = callers and (kept.s or 0) > 0
  for _, found in ipairs(is_watched and not is_gone and callers or {}) do
    see(name .. 'seen', 'n', found[1], found[2])
    see(name .. 'seen', 'a', found[1], found[3])
  end
end

-- total: minute, month, route, code, row
local function add_total(total)
  local minute, month, route, code, row = unpack(total)
  local suffix = '.' .. routes[route + 1] .. '.' .. code
  local name, hour, day = base .. 'all:', floor(minute / 60), floor(minute / 1440)
  add(name, 'm', minute, minute .. suffix, row)
  add(name, 'h', hour, hour .. suffix, row)
  add(name, 'd', day, day .. suffix, row)
  local hash, field = name .. 'y', month .. suffix
  call('HSET', hash, field, (sum(call('HGET', hash, field), row)))
end

-- Blocks up to `top` that have no field are complete. So a block that nothing came of has one.
local function open_blocks(name, top, block)
  if block - top > MAX_BLOCKS then  -- not one process that counts on
    call('HINCRBY', name, 'lost', (block - top - 1) * BLOCK)
    top = block - 1
  end
  for missing = top + 1, block do
    call('HSET', name, 'b' .. missing, missing == 0 and 1 or 0)  -- there is no charge id 0
  end
  call('HSET', name, 'top', block)
end

-- process: its id, the highest count, the numbers of entries that were repeated, {block, number}...
local function add_process(process)
  local id, highest, repeated, blocks = unpack(process)
  local name = base .. 'proc:' .. id
  local seen, extra = 0, 0
  local stored = call('HMGET', name, 'top', 'highest')
  local top = tonumber(stored[1] or -1)
  for _, block in ipairs(blocks) do
    local field = 'b' .. block[1]
    seen = seen + block[2]
    if block[1] > top then
      open_blocks(name, top, block[1])
      top = block[1]
    end
    if call('HEXISTS', name, field) == 0 then
      extra = extra + block[2]
    elseif call('HINCRBY', name, field, block[2]) >= BLOCK then
      call('HDEL', name, field)
    end
  end
  call('HINCRBY', name, 'seen', seen)
  if extra > 0 then
    call('HINCRBY', name, 'extra', extra)
  end
  if repeated > 0 then
    call('HINCRBY', name, 'repeated', repeated)
  end
  if highest > tonumber(stored[2] or -1) then
    call('HSET', name, 'highest', highest)
  end
  local low = tonumber(call('HGET', name, 'low') or 0)
  while call('HLEN', name) > MAX_BLOCKS and low <= top do  -- the oldest gaps become one number
    local number = call('HGET', name, 'b' .. low)
    if number then
      call('HINCRBY', name, 'lost', BLOCK - number)
      call('HDEL', name, 'b' .. low)
    end
    low = low + 1
    call('HSET', name, 'low', low)
  end
  call('HSET', name, 'at', now_ms)
  call('EXPIRE', name, kept.h)
  call('ZADD', base .. 'procs', now, id)
end

-- Data that this script did not write must not stop the meter: it skips that key, and reports it.
local function each(list, act)
  for _, one in ipairs(list) do
    if not pcall(act, one) then
      garbled = garbled + 1
    end
  end
end

-- Correct a budget by what its requests really used: `used` minus `taken`, never below 0. A period
-- that is over, and a counter that was reset, stay as they are. The counter is one of spend.lua.
-- settlement: name of the hash, field, end of the period in ms, used, taken
local PERIOD, PERIOD_STATE = 2, '>BI6I6'      -- kind, end of the period, units
local SETTLED, SETTLED_STATE = 4, '>BI6I6I6'  -- kind, end of the period, sums of used and taken
local MOST_UNITS = 2^47
local function settle(settlement)
  local name, field, ends, used, taken = unpack(settlement)
  local found = call('HMGET', name, field, field .. ' settled')
  if not found[1] then
    return
  end
  local kind, stored_end, total = struct.unpack(PERIOD_STATE, found[1])
  if kind ~= PERIOD or #found[1] ~= 13 then
    error('not a period')
  end
  if stored_end ~= ends then
    return
  end
  local all_used, all_taken = 0, 0
  if found[2] then
    local _, settled_end, before, given = struct.unpack(SETTLED_STATE, found[2])
    if settled_end == ends then
      all_used, all_taken = before, given
    end
  end
  total = math.max(0, math.min(total + used - taken, MOST_UNITS))
  all_used = math.max(0, math.min(all_used + used, MOST_UNITS))  -- a refund has a negative use
  all_taken = math.min(all_taken + taken, MOST_UNITS)
  call('HSET', name, field, struct.pack(PERIOD_STATE, PERIOD, ends, total),
    field .. ' settled', struct.pack(SETTLED_STATE, SETTLED, ends, all_used, all_taken))
end

-- Settle an attempt of a request that is charged once: all attempts together cost the most that one
-- of them used, in whatever order they come. lua/spend.lua remembers the request, and was given what
-- the first attempt took. If the memory is gone, the estimate stays.
-- one: name of the memory, index of the budget, and a settlement
local function settle_once(one)
  local memory, at, name, field, ends, used, taken = unpack(one)
  local known = call('HMGET', memory, 'requests', 'used')
  if not known[1] then
    return
  end
  local most = {}
  for number in string.gmatch(known[2] or '', '[^,]+') do
    most[#most + 1] = number
  end
  local before = tonumber(most[at])
  if before and used <= before then
    return
  end
  settle({name, field, ends, used - (before or 0), before and 0 or taken})
  for missing = #most + 1, at - 1 do
    most[missing] = '-'
  end
  most[at] = string.format('%.0f', used)
  call('HSET', memory, 'used', table.concat(most, ','))
end

each(commit.settlements or {}, settle)  -- earlier meters have none
each(commit.once or {}, settle_once)    -- earlier meters have none
-- counts: kid (empty for all requests), day, model, row
local function add_model(counts)
  local kid, day, model, row = unpack(counts)
  add(base .. (kid == '' and 'all' or kid) .. ':', 'M', day, day .. '.' .. model, row)
end

-- Learn the real use of a route and model, and publish mean and 95th percentile for the sidecars. Of
-- more than ENOUGH requests each counts half, so that the newest 20,000 to 40,000 decide.
-- sample: route and model, then of units and of micro-dollars the sum and {step, number}...
local ENOUGH, MAX_LEARNED = 40000, 2000
local function merged(state, sample)
  local total, steps, count = state[1] + sample[1], state[2], 0
  for _, found in ipairs(sample[2]) do
    steps[found[1]] = (steps[found[1]] or 0) + found[2]
  end
  for _, number in pairs(steps) do
    count = count + number
  end
  if count > ENOUGH then
    local left, kept_steps = 0, {}
    for step, number in pairs(steps) do
      kept_steps[step] = math.ceil(number / 2)
      left = left + kept_steps[step]
    end
    total, count, steps = floor(total * left / count), left, kept_steps
  end
  return {total, steps}, count
end

local function summary(state, count)
  if count == 0 then
    return '0 0 0'
  end
  local order, below = {}, 0
  for step in pairs(state[2]) do
    order[#order + 1] = step
  end
  table.sort(order)
  for _, step in ipairs(order) do
    below = below + state[2][step]
    if below * 100 >= count * 95 then
      return string.format('%.0f %.0f %d', count, math.ceil(state[1] / count), step)
    end
  end
end

local function learn(sample)
  local place, units, usd = unpack(sample)
  local states, published = base .. 'learned', base .. 'estimates'
  local text = call('HGET', states, place)
  if not text and call('HLEN', states) >= MAX_LEARNED then
    return
  end
  local known = text and unpack_row(text) or {{0, {}}, {0, {}}}
  local of_units, number = merged(known[1], units)
  local of_usd, priced = merged(known[2], usd)
  call('HSET', states, place, pack_row({of_units, of_usd}))
  call('HSET', published, place, summary(of_units, number) .. ' ' .. summary(of_usd, priced))
  call('EXPIRE', states, kept.h)
  call('EXPIRE', published, kept.h)
end

each(commit.learned or {}, learn)  -- earlier meters have none
each(commit.models or {}, add_model)  -- earlier meters have none
each(commit.keys, add_key)
end_rankings()
each(commit.totals, add_total)
each(commit.denials, function(denial)
  count(base .. 'all:', denial[1], '!' .. denial[2], denial[3])
end)
each(commit.processes, add_process)
if #commit.processes > 0 then
  call('ZREMRANGEBYSCORE', base .. 'procs', '-inf', now - kept.h)
end
for field, number in pairs(commit.sums) do
  if number > 0 then
    call('HINCRBY', base .. 'sums', field, number)
  end
end
if full > 0 then
  call('HINCRBY', base .. 'sums', 'full', full)
end
return {now_ms, 0, full, garbled}
