-- The keys that are used most in each month. Stands before commit_usage.lua.
--
-- A sorted set top:<month>:<order> has the RANKED keys with the largest numbers of that month. A
-- number only grows, and each commit of a key brings its new value. So no key is missed.

local RANKED = 1000
local MEAN_MONTH = 2629800  -- seconds; a time divided by it gives its month since 1970, or one beside it

-- The numbers by which keys are ranked, of a row of counts; see Field in core/usage/counts.py.
local ORDERS = {}
function ORDERS.requests(row)
  return row[1] + (row[6] or 0) + (row[7] or 0) + (row[8] or 0) + (row[9] or 0)
end
function ORDERS.denied(row)
  return row[7] or 0
end
function ORDERS.units(row)
  return ORDERS.requests(row) - ORDERS.denied(row) + (row[12] or 0)
end

-- Return two functions: `rank` takes a kid, a month since January 1970 and the key's counts in it;
-- `finish` cuts the sets to their size. base: the beginning of all names. now: seconds. keep: seconds
-- for which a ranking is kept.
--
-- A month is complete only if every commit of it was ranked. The first complete one is in the hash
-- `ranked`. An earlier version did not rank. Nor does a user without the rights for it; it counts on.
local function rankings(base, now, keep)
  local call, lowest = redis.call, {}
  local later = math.floor(now / MEAN_MONTH) + 2
  local since
  local function begin(month)
    since = month
    call('HSET', base .. 'ranked', 'since', since)
  end
  local function read()
    since = tonumber(call('HGET', base .. 'ranked', 'since'))
    if not since then
      begin(call('HLEN', base .. 'all:y') > 0 and later or 0)
    end
  end
  if not pcall(read) then
    since = math.huge  -- nothing is ranked
  end

  local function add(kid, month, row)
    for order, number_of in pairs(ORDERS) do
      local name, number = base .. 'top:' .. month .. ':' .. order, number_of(row)
      if not lowest[name] then
        local is_full = call('ZCARD', name) >= RANKED
        lowest[name] = is_full and tonumber(call('ZRANGE', name, 0, 0, 'WITHSCORES')[2]) or 0
      end
      if number > lowest[name] then
        call('ZADD', name, number, kid)
      end
    end
  end

  local function rank(kid, month, row)
    if month >= since and not pcall(add, kid, month, row) then
      begin(later)
    end
  end

  local function finish()
    for name in pairs(lowest) do
      call('ZREMRANGEBYRANK', name, 0, -RANKED - 1)
      call('EXPIRE', name, keep)
    end
  end

  return rank, function()
    if not pcall(finish) then
      begin(later)
    end
  end
end

