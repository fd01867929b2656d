-- Charge a request to every limit of its groups (key, project, tenant), or to none of them.
--
-- Time is the store's clock, so that all sidecars use the same one. Everything is read and judged
-- before anything is written. A refused request changes nothing.
--
-- A sliding window is counted in buckets of 1/100 of its length. Enough buckets are kept to cover
-- any stretch of that length, so no such stretch holds more than the limit. Example: 200 per minute
-- has buckets of 600 ms; the newest and the 100 before it cover every 60 s. The newest bucket and
-- the sum are in one field. The older buckets are in another field, which is read only if the bucket
-- changes or a wait must be computed.
--
-- KEYS  one hash for each group: the key, its project, its tenant. If argument 6 is not 0, one more
-- ARGV  1 requests wanted: as many are granted as fit; 0: only read the counters
--       2 requests given back from an earlier grant; below 0: served uncounted in an outage
--       3 time of that grant, or of the earliest of them, in us; 0 without one
--       4 how many of the wanted requests are for a lease; the others are granted first
--       5 holder of the lease, as the end of a LEASE; empty if no lease is possible
--       6 number of the group that starts with the counters in the last of KEYS, while its own hash
--         has none of them; 0: none. So a pool of a project goes on when it becomes a pool of its
--         tenant: each tenant starts with all that the project had used
--       7 ms for which the only wanted request is remembered, so that it is charged once; 0: not. If it
--         is not 0, the last of KEYS is the memory
--       then for each group: its counters in one string (COUNTER each), the field name of each, and
--       unless argument 5 is empty, the field name of the leases
--       then if argument 7 is not 0, ms for which the memory is kept, and for each counter the text
--       that says what is taken from it, empty unless it is a budget
-- Returns {requests granted, now in us, units left in each counter}. If one more request does not
--   fit some counter, for each counter the wait in us follows (0: it fits, -1: it never fits, or
--   not before the limit is raised).
--   If argument 7 is not 0, two more follow now: how many requests so far had this memory, with this
--   one, and the texts of what the first of them took, with `;` between. From the second on nothing
--   is taken, and no waits follow.
--   Returns {-1, now} if a calendar period is not the current one; then nothing was counted. An
--   error that begins with GARBLED names a field that this script did not write.

-- Kind, enforced (1: it may refuse, 0: it only reports), limit, charge of one request, a and b:
--   window: length in ms, number of buckets kept before the newest
--   period: its first ms, the first ms after it (the sidecar knows the calendar). Credits are a
--     period from 0 to NEVER
--   smooth: length of the window in ms, burst: the limit is a rate, after a burst at once
local COUNTER, COUNTER_SIZE = '>BBI8I4I8I8', 30
local WINDOW, PERIOD, SMOOTH = 1, 2, 3

-- The stored form of each counter. Its first byte is the kind.
local WINDOW_STATE = '>BI6I6I6'  -- number of the newest bucket, its count, count of all buckets
local PERIOD_STATE = '>BI6I6'    -- the first ms after the period, count
local SMOOTH_STATE = '>BI7d'     -- time in us, amount not yet drained at that time, in units * us
local OLDER, OLDER_SIZE = '>I2I5', 7     -- a non-empty bucket: low bits of its number, count
local LEASE, LEASE_SIZE = '>I7I5I2I4B', 19  -- GRANT, life in ms, cost, length of the name; the name
local GRANT, GRANT_SIZE = '>I7I5', 12       -- time in us, requests

local NEVER = 7258118400000  -- as NEVER_ENDS_MS of core/limits/periods.py
local MOST = 1e12        -- largest count that uncounted requests may lead to
local MAX_LEASES = 4096  -- bytes of leases kept for each group
local MAX_ATTEMPTS = 16  -- as in core/limits/charge_once.py

local pack, unpack_bytes, sub, floor = struct.pack, struct.unpack, string.sub, math.floor
local min, max, call = math.min, math.max, redis.call
local wanted, back, booked = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local for_lease, holder, starts = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local once = tonumber(ARGV[7])
local memory = once > 0 and KEYS[#KEYS]
local groups = #KEYS - (starts > 0 and 1 or 0) - (memory and 1 or 0)
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local turned_back = false  -- then counters are written even if the request is refused

-- Functions that most calls do not need. A script creates its functions in every run, and these
-- took a third of the run time. So the first use creates them.
local made
local function rare()
  if made then
    return made
  end
  made = {}

  function made.is_new(stored, size)
    for i = 1, size do
      if stored[i] then
        return false
      end
    end
    return true
  end

  function made.garbled(c)
    error({err = 'GARBLED ' .. c.source .. ' ' .. c.field})
  end

  -- Return the older buckets in their stored form, oldest first, checked against the stored sum.
  local function older(c)
    if not c.ring then
      c.ring = ''
      if c.total > c.current then
        c.ring = call('HGET', c.source, c.field .. ' older') or ''
        local sum = c.current
        if #c.ring % OLDER_SIZE ~= 0 then
          made.garbled(c)
        end
        for p = 1, #c.ring, OLDER_SIZE do
          local _, count = unpack_bytes(OLDER, c.ring, p)
          sum = sum + count
        end
        if sum ~= c.total then
          made.garbled(c)
        end
      end
    end
    return c.ring
  end
  made.older = older

  -- Return the full number of a bucket from the low bits in its entry.
  local function number(c, low)
    return c.newest - (c.newest - low) % 65536
  end

  -- Handle a clock that went back. Up to one window, earlier requests keep counting until the clock
  -- catches up. If it went back farther, move the counts back with it. Otherwise clients would wait
  -- for a time that is far away.
  function made.turn_back(c, by)
    c.ring = string.gsub(older(c), string.rep('.', OLDER_SIZE), function(entry)
      local low, count = unpack_bytes(OLDER, entry)
      return pack(OLDER, (low - by) % 65536, count)
    end)
    c.newest, c.moved, turned_back = c.newest - by, true, true
  end

  -- Begin a newer bucket and drop those that are too old.
  function made.advance(c, bucket)
    local ring, oldest = older(c), bucket - c.b
    local p = 1
    while p < #ring do
      local low, count = unpack_bytes(OLDER, ring, p)
      if number(c, low) >= oldest then
        break
      end
      c.total, p = c.total - count, p + OLDER_SIZE
    end
    ring = sub(ring, p)
    if c.newest < oldest then
      c.total = c.total - c.current
    elseif c.current > 0 then
      ring = ring .. pack(OLDER, c.newest % 65536, c.current)
    end
    c.newest, c.current, c.ring, c.moved = bucket, 0, ring, true
  end

  local function give_back_to_window(c, units)
    local width = c.a * 10
    local bucket = (booked - booked % width) / width
    if bucket == c.newest then
      units = min(units, c.current)
      c.current, c.total = c.current - units, c.total - units
      return
    end
    local ring = older(c)
    for p = #ring - OLDER_SIZE + 1, 1, -OLDER_SIZE do
      local low, count = unpack_bytes(OLDER, ring, p)
      if number(c, low) == bucket then
        units = min(units, count)
        local rest = count > units and pack(OLDER, low, count - units) or ''
        c.ring = sub(ring, 1, p - 1) .. rest .. sub(ring, p + OLDER_SIZE)
        c.total, c.moved = c.total - units, true
        return
      end
    end
  end

  function made.give_back(c, units)
    if c.kind == SMOOTH then
      -- What drained since the grant may have been these units: they are not there any more.
      local unit, drained = c.a * 1000, max(0, now - booked) * c.limit
      c.total = max(0, c.total - max(0, units * unit - drained))
      c.left = floor((c.b * unit - c.total) / unit)
      return
    end
    if c.kind == WINDOW then
      give_back_to_window(c, units)
    elseif booked >= c.a * 1000 then
      c.total = max(0, c.total - units)
    end
    c.left = c.limit - c.total
  end

  -- Return the us until one more request fits, or -1 if it never does.
  function made.wait(c)
    if c.charge > (c.kind == SMOOTH and c.b or c.limit) then
      return -1
    elseif c.kind == PERIOD then
      return c.newest == NEVER and -1 or c.newest * 1000 - now
    elseif c.kind == SMOOTH then
      return math.ceil((c.total + (c.added + c.charge - c.b) * c.a * 1000) / c.limit)
    end
    local over, ring, leaves = c.charge - c.left, older(c), c.newest
    for p = 1, #ring, OLDER_SIZE do
      local low, count = unpack_bytes(OLDER, ring, p)
      over = over - count
      if over <= 0 then
        leaves = number(c, low)
        break
      end
    end
    return (leaves + c.b + 1) * c.a * 10 - now
  end

  -- Return the stored leases, oldest first, with the new one of `leased` requests. They are only
  -- shown to people. Ended leases are dropped, and the one that this lease replaces.
  function made.holders(stored, leased)
    local kept, p, at, _, lives, name = '', 1
    while p + LEASE_SIZE <= #stored do
      at, _, lives, _, name = unpack_bytes(LEASE, stored, p)
      if at <= now and now < at + lives * 1000 and #stored - p < MAX_LEASES then
        kept = sub(stored, p)
        break
      end
      p = p + LEASE_SIZE + name
    end
    local own = string.find(kept, pack('>I7', booked), 1, true)
    if own and sub(kept, own + GRANT_SIZE, own + GRANT_SIZE + #holder - 1) == holder then
      kept = sub(kept, 1, own - 1) .. sub(kept, own + GRANT_SIZE + #holder)
    end
    return leased > 0 and kept .. pack(GRANT, now, leased) .. holder or kept
  end

  -- Extend the TTL of the hash to the longest life of its counters. Never shorten an existing TTL:
  -- another sidecar may run with a longer window.
  function made.expire(key, from, to, counters)
    local life = 0
    for i = from, to do
      local c = counters[i]
      if c.kind == WINDOW then
        life = max(life, (c.newest + c.b + 1) * c.a * 10 - now)
      elseif c.kind == PERIOD then
        life = max(life, c.newest * 1000 - now)
      else
        life = max(life, (c.total + c.added * c.a * 1000) / c.limit)
      end
    end
    life = math.ceil(life / 1000)
    if call('PEXPIRE', key, life, 'GT') == 0 and call('PTTL', key) < 0 then
      call('PEXPIRE', key, life)
    end
  end

  return made
end

-- Read every counter and advance it to the current time.
local counters, count, last, leases, w = {}, 0, {[0] = 0}, {}, 8
for k = 1, groups do
  local key = KEYS[k]
  local packed = ARGV[w]
  local size = #packed / COUNTER_SIZE
  local names = size + (holder == '' and 0 or 1)
  local stored, source = call('HMGET', key, unpack(ARGV, w + 1, w + names)), key
  if k == starts and rare().is_new(stored, size) then
    source = KEYS[groups + 1]
    stored = call('HMGET', source, unpack(ARGV, w + 1, w + size))
  end
  for i = 1, size do
    local kind, enforced, limit, charge, a, b =
      unpack_bytes(COUNTER, packed, (i - 1) * COUNTER_SIZE + 1)
    -- newest: newest bucket, or end of the period. total: count, or the amount not yet drained.
    -- added: units to count now. fits: number of requests that fit. ring: the older buckets if
    -- read. moved: whether the ring and the TTL are to be written.
    local c = {
      kind = kind, key = key, source = source, field = ARGV[w + i], enforced = enforced == 1, limit = limit,
      charge = charge, a = a, b = b, newest = 0, current = 0, total = 0, added = 0, left = 0,
      fits = 0, ring = false, moved = false,
    }
    local state, version = stored[i], kind
    if kind == WINDOW then
      local width = a * 10
      local bucket = (now - now % width) / width
      if state then
        if #state == 19 then
          version, c.newest, c.current, c.total = unpack_bytes(WINDOW_STATE, state)
        end
        if #state ~= 19 or version ~= kind or c.current > c.total then
          rare().garbled(c)
        end
        if c.newest - bucket - 1 > b then
          rare().turn_back(c, c.newest - bucket - 1)
        end
      end
      if bucket > c.newest then
        rare().advance(c, bucket)
      end
      c.left = limit - c.total
    elseif kind == PERIOD then
      if now < a * 1000 or now >= b * 1000 then
        return {-1, now}
      end
      c.newest = b
      if state then
        local ends, total
        if #state == 13 then
          version, ends, total = unpack_bytes(PERIOD_STATE, state)
        end
        if #state ~= 13 or version ~= kind then
          rare().garbled(c)
        end
        -- The stored period is later than the current one: the clock went back. Keep counting in
        -- the stored period, unless it is more than two periods away.
        if ends >= b and ends - b <= 2 * (b - a) then
          c.newest, c.total = ends, total
        end
      end
      c.moved, c.left = c.total == 0, limit - c.total
    else
      local unit = a * 1000
      if state then
        local at, level
        if #state == 16 then
          version, at, level = unpack_bytes(SMOOTH_STATE, state)
        end
        if #state ~= 16 or version ~= kind or not (level >= 0 and level < math.huge) then
          rare().garbled(c)
        end
        c.total = max(0, level - max(0, now - at) * limit)
      end
      c.moved, c.left = true, floor((b * unit - c.total) / unit)
    end
    if source ~= key then  -- all of it has to be written, with a time to live
      c.moved = true
      if kind == WINDOW then
        rare().older(c)
      end
    end
    count = count + 1
    counters[count] = c
  end
  last[k], leases[k], w = count, stored[size + 1] or '', w + names + 1
end

-- Apply what is given back or owed, then compute how many requests fit.
local attempt, text = 1, ''
if memory then
  local known = call('HMGET', memory, 'until', 'requests', 'taken')
  local requests = tonumber(known[2])
  if requests and requests >= 1 and requests < MAX_ATTEMPTS and now < (tonumber(known[1]) or 0) then
    attempt, text, wanted = requests + 1, known[3] or '', 0
  end
end
local granted, is_full = wanted, false
for i = 1, count do
  local c = counters[i]
  if back > 0 then
    rare().give_back(c, back * c.charge)
  elseif back < 0 then
    c.added = max(0, min(-back * c.charge, MOST - c.limit + c.left))
    c.left = c.left - c.added
  end
  if c.left < c.charge then
    is_full = true
  else
    c.fits = c.charge == 1 and c.left or floor(c.left / c.charge)
  end
  if c.fits < granted and c.enforced then
    granted = c.fits
  end
end

local answer = {granted, now}
if attempt > 1 then
  call('HSET', memory, 'requests', attempt)
  answer = {1, now, attempt, text}
  for i = 1, count do
    answer[i + 4] = max(0, counters[i].left)
  end
  return answer
elseif memory then
  answer = {granted, now, attempt, text}
end
local size_before = #answer
for i = 1, count do
  local c = counters[i]
  -- A limit that only reports is not charged for requests that it would have refused.
  local taken = (granted < c.fits and granted or c.fits) * c.charge
  c.added, c.left = c.added + taken, c.left - taken
  answer[size_before + i] = c.left > 0 and c.left or 0
  if taken > 0 and memory and ARGV[w + i] ~= '' then
    text = text .. (text == '' and '' or ';') .. ARGV[w + i]
  end
end
if is_full then
  for i = 1, count do
    answer[size_before + count + i] = counters[i].fits > 0 and 0 or rare().wait(counters[i])
  end
end
if granted == 0 and back == 0 and not (turned_back and wanted > 0) then
  return answer
end

if memory then
  answer[4] = text
  call('HSET', memory, 'until', string.format('%.0f', now + once * 1000), 'requests', 1,
    'taken', text, 'used', '')
  call('PEXPIRE', memory, ARGV[w])
end
for k = 1, groups do
  local key = KEYS[k]
  local writes, size, moved = {}, 0, false
  for i = last[k - 1] + 1, last[k] do
    local c = counters[i]
    local kind, total = c.kind, c.total + c.added
    writes[size + 1] = c.field
    if kind == WINDOW then
      writes[size + 2] = pack(WINDOW_STATE, kind, c.newest, c.current + c.added, total)
    elseif kind == PERIOD then
      writes[size + 2] = pack(PERIOD_STATE, kind, c.newest, total)
    else
      writes[size + 2] = pack(SMOOTH_STATE, kind, now, c.total + c.added * c.a * 1000)
    end
    size, moved = size + 2, moved or c.moved
    if c.ring and c.moved then
      writes[size + 1], writes[size + 2] = c.field .. ' older', c.ring
      size = size + 2
    end
  end
  if holder ~= '' then
    local text = rare().holders(leases[k], for_lease - (wanted - granted))
    if text ~= leases[k] then
      writes[size + 1], writes[size + 2] = ARGV[#ARGV], text
    end
  end
  call('HSET', key, unpack(writes))
  if moved then
    rare().expire(key, last[k - 1] + 1, last[k], counters)
  end
end
return answer
