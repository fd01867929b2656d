-- The callers of a key: their networks, families of user agents, and denials. Stands after
-- hash_counts.lua.

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

-- denials: day, reason, number. latest: lists as in latest_denials.
local function add_denials(name, denials, latest, is_gone)
  for _, denial in ipairs(denials) do
    count(name .. ':', denial[1], '!' .. denial[2], denial[3])
  end
  if #latest > 0 then
    call('HSET', name, 'denied', latest_denials(call('HGET', name, 'denied'), latest, is_gone))
  end
end

-- Most keys are used from one network. So a log of networks begins with the second one of a day.
-- used, network: the latest use of the key before this commit, whose network may be in no log.
local function add_networks(name, day, networks, used, network)
  local log, latest = name .. ':net:' .. day, floor(used / 86400)
  local before = latest == day and network or ''
  if #networks == 1 then
    local is_first = latest < day and (used > 0 or call('PFCOUNT', log) == 0)
    if is_first or networks[1] == before then
      return
    end
  end
  if before ~= '' then
    networks[#networks + 1] = before
  end
  if call('PFADD', log, unpack(networks)) == 1 then
    call('EXPIREAT', log, (day + 3) * 86400)
    local number = call('PFCOUNT', log)
    if number > 1 then
      local hash, ends = window(name .. ':', 'd', day)
      call('HSET', hash, day .. 'n', number)
      call('EXPIREAT', hash, ends)
    end
  end
end

-- found: hour, networks, families of user agents. used, network: as in add_networks.
local function add_callers(name, found, used, network)
  local hour, networks, agents = unpack(found)
  if (kept.s or 0) > 0 then
    see(name .. ':seen', 'n', hour, networks)
    see(name .. ':seen', 'a', hour, agents)
  end
  if #networks > 0 then
    add_networks(name, floor(hour / 24), networks, used, network)
  end
end
