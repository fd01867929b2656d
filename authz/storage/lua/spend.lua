-- Take what a request costs from every limit of its accounts, or from none of them.
--
-- Time is the store's own, so that all sidecars count by one clock. All is read, judged and made
-- ready before anything is written; a request that is refused changes nothing.
--
-- A sliding window is counted in buckets of a hundredth of it, and as many buckets are kept that
-- what passed within any stretch of its length is always among them. So no such stretch ever holds
-- more than the limit. The newest bucket and the sum stand in one field; the older buckets, in
-- another, are touched when the bucket changes and when somebody has to be told how long to wait.
--
-- KEYS  one hash for each account: of the key, its project, its tenant
-- ARGV  1 requests wanted: as many of them as there is room for are granted; 0: only look
--       2 requests given back, of an earlier grant; below 0: passed without a grant in an outage
--       3 the time at which that grant was made, in us; 0 with none
--       4 how many of those wanted are for a lease; the others pass first
--       5 who is to hold it, as the end of a LEASE; empty where nobody can
--       then for each account its counters in one word (COUNTER each), the name of each one's
--       field, and, unless word 5 is empty, that of the field that says who holds leases
-- Returns {requests granted, now in us, then the units left in each counter, and if there was no
--   room for one more request in some of them, for each the us until there is (0: there was, -1:
--   there never is)}, or {-1, now} when now is in none of the periods given. An error that begins
--   with GARBLED names a field that nobody of ours wrote.

-- Its kind, 1: it may refuse | 0: it only says so, limit, charge of one request, and a and b:
--   window: its length in ms, buckets kept before the newest
--   period: its first ms, the first ms after it (the sidecar knows calendars, we do not)
--   smooth: length of the window in ms, burst: the limit as a rate, after a burst at once
local COUNTER, COUNTER_SIZE = '>BBI8I4I8I8', 30
local WINDOW, PERIOD, SMOOTH = 1, 2, 3

-- What is stored. The first byte of a counter is its kind.
local WINDOW_STATE = '>BI6I6I6'  -- newest bucket, count in it, count in all kept
local PERIOD_STATE = '>BI6I6'    -- the first ms after it, count
local SMOOTH_STATE = '>BI7d'     -- time in us, how much had not drained by then, in units * us
local OLDER, OLDER_SIZE = '>I2I5', 7     -- a bucket that is not empty: its low bits, count
local LEASE, LEASE_SIZE = '>I7I5I2I4B', 19  -- GRANT, life in ms, cost, length of the name; the name
local GRANT, GRANT_SIZE = '>I7I5', 12       -- granted at, in us; requests

local MOST = 1e12        -- units that debts may make of a count
local MAX_LEASES = 4096  -- bytes of them that are kept of an account

local pack, unpack_bytes, sub, floor = struct.pack, struct.unpack, string.sub, math.floor
local min, max, call = math.min, math.max, redis.call
local wanted, back, booked = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local for_lease, holder = tonumber(ARGV[4]), ARGV[5]
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local turned_back = false  -- to be written also when the request is refused, or it begins anew

-- What most calls do without. A function is made anew in every run of a script, and making these
-- took a third of it: so they are made by the first use of one.
local made
local function rare()
  if made then
    return made
  end
  made = {}

  function made.garbled(c)
    error({err = 'GARBLED ' .. c.key .. ' ' .. c.field})
  end

  -- The older buckets as they are stored, oldest first. Their sum is known from the state.
  local function older(c)
    if not c.ring then
      c.ring = ''
      if c.total > c.current then
        c.ring = call('HGET', c.key, c.field .. ' older') or ''
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

  -- The number of a bucket, of which an entry holds the low bits.
  local function number(c, low)
    return c.newest - (c.newest - low) % 65536
  end

  -- The clock went back. Up to a window: what passed counts on until the clock is there again.
  -- Farther: the past goes back with it, so that nobody waits for an hour to come again.
  function made.turn_back(c, by)
    c.ring = string.gsub(older(c), string.rep('.', OLDER_SIZE), function(entry)
      local low, count = unpack_bytes(OLDER, entry)
      return pack(OLDER, (low - by) % 65536, count)
    end)
    c.newest, c.moved, turned_back = c.newest - by, true, true
  end

  -- To a newer bucket.
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
      local unit = c.a * 1000
      c.total = max(0, c.total - units * unit)
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

  -- How long until there is room for one request.
  function made.wait(c)
    if c.charge > (c.kind == SMOOTH and c.b or c.limit) then
      return -1
    elseif c.kind == PERIOD then
      return c.newest * 1000 - now
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

  -- Who holds requests in advance, oldest first, now that so many were granted. Only people look at
  -- it, no decision goes by it. What has ended is dropped, and what this lease comes after.
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

  -- The hash lives as long as something of it counts, and never ends sooner than it was to: a
  -- sidecar of other settings may know of a longer limit.
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

-- Read every counter and bring it up to now.
local counters, count, last, leases, w = {}, 0, {[0] = 0}, {}, 6
for k, key in ipairs(KEYS) do
  local packed = ARGV[w]
  local size = #packed / COUNTER_SIZE
  local names = size + (holder == '' and 0 or 1)
  local stored = call('HMGET', key, unpack(ARGV, w + 1, w + names))
  for i = 1, size do
    local kind, enforced, limit, charge, a, b =
      unpack_bytes(COUNTER, packed, (i - 1) * COUNTER_SIZE + 1)
    -- newest: of a period its end. total: of a smooth one what had not drained. added: units to be
    -- counted now. fits: requests. ring, moved: the older buckets, if read, and if to be written.
    local c = {
      kind = kind, key = key, field = ARGV[w + i], enforced = enforced == 1, limit = limit,
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
        -- A later period than the clock's: it went back. That one counts on, unless it is far off.
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
    count = count + 1
    counters[count] = c
  end
  last[k], leases[k], w = count, stored[size + 1] or '', w + names + 1
end

-- Settle what was before, then see how many requests there is room for.
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
for i = 1, count do
  local c = counters[i]
  -- What a limit that only says so would have refused takes nothing from it.
  local taken = (granted < c.fits and granted or c.fits) * c.charge
  c.added, c.left = c.added + taken, c.left - taken
  answer[i + 2] = c.left > 0 and c.left or 0
end
if is_full then
  for i = 1, count do
    answer[count + 2 + i] = counters[i].fits > 0 and 0 or rare().wait(counters[i])
  end
end
if granted == 0 and back == 0 and not (turned_back and wanted > 0) then
  return answer
end

for k, key in ipairs(KEYS) do
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
