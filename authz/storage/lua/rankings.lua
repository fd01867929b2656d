-- The keys that are used most in each month. Stands before commit_usage.lua.
--
-- A sorted set top:<month>:<order> has the RANKED keys with the largest numbers of that month. A
-- number only grows, and each commit of a key brings its new value. So no key is missed.

local RANKED = 1000
local MEAN_MONTH = 2629800  -- seconds; a time divided by it gives its month since 1970, or one beside it

-- Return the numbers by which keys are ranked, of the counts from `first` on of `list`: requests,
-- denied, units. See Field in core/usage/counts.py.
local ORDERS = {'requests', 'denied', 'units'}
local function ranked_numbers(list, first, count)
  local requests = list[first]
  if count < 6 then  -- nearly always
    return requests, 0, requests
  end
  local denied = count > 6 and list[first + 6] or 0
  for at = 5, math.min(count, 9) - 1 do
    requests = requests + list[first + at]
  end
  return requests, denied, requests - denied + (count > 11 and list[first + 11] or 0)
end

-- Return two functions: `rank` takes a kid, a month since January 1970 and the key's numbers in it;
-- `finish` cuts the sets to their size. base: the beginning of all names. now: seconds. keep: seconds
-- for which a ranking is kept.
--
-- A month is complete only if every commit of it was ranked. The first complete one is in the hash
-- `ranked`. An earlier version did not rank. Nor does a user without the rights for it; it counts on.
local function rankings(base, now, keep)
  local call, lowest = redis.call, {}  -- lowest: by month and order, the name of the set and its least number
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

  local function least_of(month)
    local found = {}
    for at, order in ipairs(ORDERS) do
      local name = base .. 'top:' .. month .. ':' .. order
      local is_full = call('ZCARD', name) >= RANKED
      local least = is_full and tonumber(call('ZRANGE', name, 0, 0, 'WITHSCORES')[2]) or 0
      found[at] = {name, least}
    end
    lowest[month] = found
    return found
  end

  local function add(kid, month, ...)
    local found = lowest[month] or least_of(month)
    for at = 1, 3 do
      local number = select(at, ...)
      if number > found[at][2] then
        call('ZADD', found[at][1], number, kid)
      end
    end
  end

  local function rank(kid, month, requests, denied, units)
    local found = lowest[month]
    if found and requests <= found[1][2] and denied <= found[2][2] and units <= found[3][2] then
      return  -- nearly always
    end
    if month >= since and not pcall(add, kid, month, requests, denied, units) then
      begin(later)
    end
  end

  local function finish()
    for _, found in pairs(lowest) do
      for at = 1, 3 do
        call('ZREMRANGEBYRANK', found[at][1], 0, -RANKED - 1)
        call('EXPIRE', found[at][1], keep)
      end
    end
  end

  return rank, function()
    if not pcall(finish) then
      begin(later)
    end
  end
end
