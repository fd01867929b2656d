-- Add the usage of some batches to the counts, or add nothing if one of them was counted before.
--
-- The digest of a batch names it. Envoy sends a batch again with the same bytes until it is
-- confirmed. So the digests and all increments are written in this one step. Digests are kept for
-- two to three hours by the store's clock, longer than anybody repeats a batch.
--
-- KEYS  1 the beginning of all names: authz:{p}:use:
-- ARGV  1 the name of authz:meta, which is only read: a user of the store may not write it
--       2 the time of arrival of the oldest batch, in ms by the store's clock. Batches that waited
--         for longer than an hour are not counted: their digests may be forgotten soon
--       3 seconds for which rows are kept, by level, as JSON: {m, h, d, y}; and s, for which a
--         caller is remembered, 0 or missing: not at all
--       4 the commit as JSON, without its keys; see usage_script.py
--       5 the keys of the commit, packed
--       6 and more: the digests
-- Returns {now in ms, result, ...}: 0 and the number of counters that stay at their largest value
--   and of keys whose data cannot be read; 1 and the positions of the digests that are known;
--   2 if the batches are too old; 3 if the store has no authz:meta, or if one of the fields `store`
--   of the commit has another value there: it is not the meter's store; 4 if the commit has a minute
--   that is closed by now, which the meter then leaves out.

local LATE_MS = 3600000
local BLOCK = 4096      -- charge ids of a block
local MAX_BLOCKS = 512  -- incomplete blocks kept for each process
local USES = 1000       -- words of one command
local ROUTES = 10000    -- numbers of routes are smaller
local clock = call('TIME')
base, now = KEYS[1], tonumber(clock[1])
local now_ms = now * 1000 + floor(clock[2] / 1000)

if call('EXISTS', ARGV[1]) == 0 then
  return {now_ms, 3}
end
local commit = cjson.decode(ARGV[4])
for field, text in pairs(commit.store or {}) do  -- earlier meters do not say it
  if call('HMGET', ARGV[1], field)[1] ~= text then
    return {now_ms, 3}
  end
end
if now_ms - tonumber(ARGV[2]) > LATE_MS then
  return {now_ms, 2}
end
-- A user that may not write open usage counts nothing, and no digest. Its batches wait.
for _, command in ipairs({{'GET', base .. 'x:o'}, {'SET', base .. 'x:o', ''}}) do
  if not redis.acl_check_cmd(unpack(command)) then
    local problem = 'ERR the meter may not run ' .. command[1] .. ' on usage'
    return redis.error_reply(problem .. '; give its user the rights in deploy/redis/users.acl')
  end
end
may_overwrite = redis.acl_check_cmd('SETRANGE', base .. 'x:o', 0, '')  -- users of an earlier version
local digests = {}
for at = 6, #ARGV do
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

kept = cjson.decode(ARGV[3])
local until_ms = commit.until_ms or 0  -- earlier meters do not say it
if until_ms > 0 and now_ms >= until_ms then
  return {now_ms, 4}
end
if #digests > 0 then
  call('SADD', newest, unpack(digests))
  call('EXPIRE', newest, 10800)
end
local garbled, end_rankings = 0, nil
kept.M = kept.d
rank, end_rankings = rankings(base, now, kept.y)

-- Routes have small numbers, so that their names are stored once. 0: no name, or too many.
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

-- The sorted set of latest uses has a time within the minute in which a key was used last: the first
-- one of that minute that came. used: time and kid, and so on.
local function add_uses(used)
  for first = 1, #used, USES do
    call('ZADD', base .. 'last', 'GT', unpack(used, first, math.min(first + USES - 1, #used)))
  end
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
garbled = garbled + add_keys(ARGV[5], commit.more)
each({used_at}, add_uses)
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
