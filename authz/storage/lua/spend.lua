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
--       then for each account the number of its counters, and seven words for each counter:
--         kind  field  1: it may refuse | 0: it only says so  limit  charge of one request
--         window: its length in ms, buckets kept before the newest
--         period: its first ms, the first ms after it (the sidecar knows calendars, we do not)
--         smooth: length of the window in ms, burst: the limit as a rate, after a burst at once
-- Returns {requests granted, now in us, then for each counter: units left, us until there is room
--   for one more request (0: there was, -1: there never is)}, or {-1, now} when now is in none of
--   the periods given. An error that begins with GARBLED names a field that nobody of ours wrote.

local STATE = '>BI6I6I6'  -- of a window: 1, newest bucket, count in it, count in all kept
local OLDER = '>I2I5'     -- each older bucket that is not empty: low bits of its number, count
local ENTRY = 7           -- bytes of it
local PERIOD = '>BI6I6'   -- 2, the first ms after it, count
local SMOOTH = '>BI7d'    -- 3, time in us, how much had not drained by then, in units * us

local pack, unpack_bytes, sub, floor = struct.pack, struct.unpack, string.sub, math.floor
local min, max, call = math.min, math.max, redis.call
local wanted, back, booked = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function garbled(c)
  error({err = 'GARBLED ' .. c.key .. ' ' .. c.field})
end

local function read(c, format, version, size)
  if #c.stored ~= size or string.byte(c.stored) ~= version then
    garbled(c)
  end
  return unpack_bytes(format, c.stored)
end

-- The older buckets as they are stored, oldest first. Their sum is known from the state.
local function older(c)
  if not c.ring then
    c.ring = ''
    if c.total > c.current then
      c.ring = call('HGET', c.key, c.field .. ' older') or ''
      local sum = c.current
      if #c.ring % ENTRY ~= 0 then
        garbled(c)
      end
      for p = 1, #c.ring, ENTRY do
        local _, count = unpack_bytes(OLDER, c.ring, p)
        sum = sum + count
      end
      if sum ~= c.total then
        garbled(c)
      end
    end
  end
  return c.ring
end

-- The number of a bucket, of which an entry holds the low bits.
local function number(c, low)
  return c.newest - (c.newest - low) % 65536
end

local turned_back = false  -- to be written also when the request is refused, or it begins anew
local window = {}

function window.load(c)
  c.width = c.a * 10
  c.newest, c.current, c.total = 0, 0, 0
  local bucket = (now - now % c.width) / c.width
  if c.stored then
    local _
    _, c.newest, c.current, c.total = read(c, STATE, 1, 19)
    if c.current > c.total then
      garbled(c)
    end
  end
  -- The clock went back. Up to a window: what passed counts on until the clock is there again.
  -- Farther: the past goes back with it, so that nobody waits for an hour to come again.
  local gone = c.newest - bucket - 1
  if gone > c.b then
    c.ring = string.gsub(older(c), string.rep('.', ENTRY), function(entry)
      local low, count = unpack_bytes(OLDER, entry)
      return pack(OLDER, (low - gone) % 65536, count)
    end)
    c.newest, c.moved, turned_back = bucket + 1, true, true
  end
  if bucket > c.newest then
    window.advance(c, bucket)
  end
end

function window.advance(c, bucket)
  local ring, oldest = older(c), bucket - c.b
  local p = 1
  while p < #ring do
    local low, count = unpack_bytes(OLDER, ring, p)
    if number(c, low) >= oldest then
      break
    end
    c.total, p = c.total - count, p + ENTRY
  end
  ring = sub(ring, p)
  if c.newest < oldest then
    c.total = c.total - c.current
  elseif c.current > 0 then
    ring = ring .. pack(OLDER, c.newest % 65536, c.current)
  end
  c.newest, c.current, c.ring, c.moved = bucket, 0, ring, true
end

function window.give_back(c, units)
  local bucket = (booked - booked % c.width) / c.width
  if bucket == c.newest then
    local given = min(units, c.current)
    c.current, c.total = c.current - given, c.total - given
    return
  end
  local ring = older(c)
  for p = #ring - ENTRY + 1, 1, -ENTRY do
    local low, count = unpack_bytes(OLDER, ring, p)
    if number(c, low) == bucket then
      local given = min(units, count)
      local left = count > given and pack(OLDER, low, count - given) or ''
      c.ring = sub(ring, 1, p - 1) .. left .. sub(ring, p + ENTRY)
      c.total, c.moved = c.total - given, true
      return
    end
  end
end

function window.room(c)
  return c.limit - c.total
end

function window.wait(c)
  local over, ring, leaves = c.total + c.charge - c.limit, older(c), c.newest
  for p = 1, #ring, ENTRY do
    local low, count = unpack_bytes(OLDER, ring, p)
    over = over - count
    if over <= 0 then
      leaves = number(c, low)
      break
    end
  end
  return (leaves + c.b + 1) * c.width - now
end

function window.add(c, units)
  c.current, c.total = c.current + units, c.total + units
end

function window.write(c, writes)
  writes[#writes + 1] = c.field
  writes[#writes + 1] = pack(STATE, 1, c.newest, c.current, c.total)
  if c.moved then
    writes[#writes + 1] = c.field .. ' older'
    writes[#writes + 1] = c.ring
  end
end

function window.life(c)
  return (c.newest + c.b + 1) * c.width - now
end

local period = {}

function period.load(c)
  c.ends, c.total = c.b, 0
  if c.stored then
    local _, ends, total = read(c, PERIOD, 2, 13)
    -- A later period than the clock's: it went back. That one counts on, unless it is far off.
    if ends >= c.ends and ends - c.ends <= 2 * (c.b - c.a) then
      c.ends, c.total = ends, total
    end
  end
  c.moved = c.total == 0
end

function period.give_back(c, units)
  if booked >= c.a * 1000 then
    c.total = max(0, c.total - units)
  end
end

function period.room(c)
  return c.limit - c.total
end

function period.wait(c)
  return c.ends * 1000 - now
end

function period.add(c, units)
  c.total = c.total + units
end

function period.write(c, writes)
  writes[#writes + 1] = c.field
  writes[#writes + 1] = pack(PERIOD, 2, c.ends, c.total)
end

period.life = period.wait

local smooth = {}

function smooth.load(c)
  c.unit, c.level = c.a * 1000, 0
  if c.stored then
    local _, at, level = read(c, SMOOTH, 3, 16)
    if not (level >= 0 and level < math.huge) then
      garbled(c)
    end
    c.level = max(0, level - max(0, now - at) * c.limit)
  end
  c.moved = true
end

function smooth.give_back(c, units)
  c.level = max(0, c.level - units * c.unit)
end

function smooth.room(c)
  return floor((c.b * c.unit - c.level) / c.unit)
end

function smooth.wait(c)
  return math.ceil((c.level + (c.charge - c.b) * c.unit) / c.limit)
end

function smooth.add(c, units)
  c.level = c.level + units * c.unit
end

function smooth.write(c, writes)
  writes[#writes + 1] = c.field
  writes[#writes + 1] = pack(SMOOTH, 3, now, c.level)
end

function smooth.life(c)
  return c.level / c.limit
end

local KINDS = {window = window, period = period, smooth = smooth}

-- Read every counter and bring it up to now.
local accounts, counters, w = {}, {}, 4
for _, key in ipairs(KEYS) do
  local account, fields = {}, {}
  for i = 1, tonumber(ARGV[w]) do
    local c = {
      key = key, kind = KINDS[ARGV[w + 1]], field = ARGV[w + 2], enforced = ARGV[w + 3] == '1',
      limit = tonumber(ARGV[w + 4]), charge = tonumber(ARGV[w + 5]),
      a = tonumber(ARGV[w + 6]), b = tonumber(ARGV[w + 7]),
    }
    if c.kind == period and (now < c.a * 1000 or now >= c.b * 1000) then
      return {-1, now}
    end
    account[i], fields[i], counters[#counters + 1] = c, c.field, c
    w = w + 7
  end
  w = w + 1
  local stored = call('HMGET', key, unpack(fields))
  for i, c in ipairs(account) do
    c.stored = stored[i]
    c.kind.load(c)
  end
  accounts[#accounts + 1] = account
end

-- Settle what was before, then see how many requests there is room for.
local granted = wanted
for _, c in ipairs(counters) do
  if back > 0 then
    c.kind.give_back(c, back * c.charge)
  elseif back < 0 then
    c.kind.add(c, -back * c.charge)
  end
  c.fits = max(0, floor(c.kind.room(c) / c.charge))
  if c.enforced then
    granted = min(granted, c.fits)
  end
end

local answer = {granted, now}
for _, c in ipairs(counters) do
  local wait = 0
  if c.fits == 0 then
    wait = c.charge > (c.kind == smooth and c.b or c.limit) and -1 or c.kind.wait(c)
  end
  -- What a limit that only says so would have refused takes nothing from it.
  if granted > 0 then
    c.kind.add(c, min(granted, c.fits) * c.charge)
  end
  answer[#answer + 1] = max(0, c.kind.room(c))
  answer[#answer + 1] = wait
end

if granted > 0 or back ~= 0 or (turned_back and wanted > 0) then
  for i, account in ipairs(accounts) do
    local writes, moved, life = {}, false, 0
    for _, c in ipairs(account) do
      c.kind.write(c, writes)
      moved, life = moved or c.moved, max(life, c.kind.life(c))
    end
    call('HSET', KEYS[i], unpack(writes))
    -- Never sooner than it was to end: a sidecar of other settings may know of a longer limit.
    life = math.ceil(life / 1000)
    if moved and call('PEXPIRE', KEYS[i], life, 'GT') == 0 and call('PTTL', KEYS[i]) < 0 then
      call('PEXPIRE', KEYS[i], life)
    end
  end
end
return answer
