-- Models and tokens of LLM APIs, for authz. One filter, before ext_authz, on the routes of LLMs only.
--
-- Request: it reads `model` of a JSON body and writes it to the dynamic metadata authz.request, from
-- where ext_authz takes it along. It removes accept-encoding, so that the answer can be read.
--
-- Answer: it reads the usage that OpenAI (chat, responses, embeddings), Anthropic and Gemini report,
-- in JSON and in events, as the bytes pass. It writes one word to authz.usage, for the access log:
--
--     STATUS:INPUT:OUTPUT:CACHED:CACHE_WRITE:REASONING
--
-- `complete`: the answer ended, or its usage is the last one. `partial`: the answer was aborted, or is
-- not complete yet. `none`: it ended without usage. `encoded`: it is compressed. INPUT contains CACHED
-- and CACHE_WRITE, and OUTPUT contains REASONING, whatever the vendor calls them. Answers other than
-- 2xx get no word.
--
-- JSON is scanned once, from byte to byte. Nothing is kept of it but one text of at most LONGEST
-- bytes, and the names of DEEPEST levels. Usage counts only where the vendors put it. So neither the
-- text of a model, nor the arguments of its tools, nor what a client gets back can pass for usage.

local REQUEST, USED = "authz.request", "authz.usage"
local LONGEST, DEEPEST, DIGITS = 128, 5, 12
local MOST_STEPS = 100000  -- on one request: names, texts and brackets; about 20 ms of a worker
local MODEL = "^%w[%w%._:/@+%-]*$"
local byte, find, sub = string.byte, string.find, string.sub

-- Members of a usage object, and of the objects in it.
local COUNTS = {
  prompt_tokens = "input", input_tokens = "input", promptTokenCount = "input",
  completion_tokens = "output", output_tokens = "output", candidatesTokenCount = "output",
  cachedContentTokenCount = "cached", thoughtsTokenCount = "thoughts",
  toolUsePromptTokenCount = "tool_results",
  cache_read_input_tokens = "cache_read", cache_creation_input_tokens = "cache_write",
}
local DETAILS = {
  cached_tokens = "cached", cache_write_tokens = "written",
  reasoning_tokens = "reasoning", thinking_tokens = "reasoning",
}
local USAGE = { usage = true, usageMetadata = true }
local NESTED = { message = true, response = true }  -- of events of Anthropic and OpenAI
local NAMES = { model = true, modelVersion = true }
-- Types of events whose usage is the last one.
local LAST = {
  message_delta = true, message_stop = true, ["response.completed"] = true,
  ["response.incomplete"] = true, ["response.failed"] = true,
}

local STRUCTURE, STRING, VALUE, NUMBER = 1, 2, 3, 4
local QUOTE, ESCAPE, COLON, NEWLINE = byte('"\\:\n', 1, 4)
local OPENS = { [byte("{")] = "{", [byte("[")] = "[" }
local CLOSES = { [byte("}")] = "{", [byte("]")] = "[" }

-- Tables by byte: whether a loop stops at it. STRICT: at all but numbers, literals and blanks.
local MARKS, EVENT_MARKS, STRICT, BLANK, DIGIT = {}, {}, {}, {}, {}
for code = 0, 255 do
  local text = string.char(code)
  MARKS[code] = find(text, '["{}%[%]:]') ~= nil
  EVENT_MARKS[code] = MARKS[code] or code == NEWLINE
  STRICT[code] = not find(text, "[%w%s%.+%-,]")
  BLANK[code] = not find(text, "%s")
  DIGIT[code] = not find(text, "%d")
end

local function skip(chunk, at, stops)
  local size = #chunk
  while at <= size and not stops[byte(chunk, at)] do at = at + 1 end
  return at
end

-- A scan. on: the functions key(scan, name), text(scan, value), number(scan, digits) and
-- closed(scan, depth). depth: of objects and arrays. kinds: by depth, `{` or `[`. names: by depth,
-- the name of the member that holds it, or false. key: the latest name. is_strict: it ends, broken,
-- at all that is no JSON.
local function new_scan(on, is_strict, is_events)
  local stops = is_strict and STRICT or is_events and EVENT_MARKS or MARKS
  return {
    on = on, is_strict = is_strict, stops = stops, steps = 0,
    state = STRUCTURE, depth = 0, names = {}, kinds = {}, counts = {}, text = "",
    key = false, word = false, opening = false, passed = 0, newline = -9,
  }
end

local function open(scan, kind)
  local depth = scan.depth + 1
  if depth == 1 and scan.is_strict and scan.kinds[1] then scan.broken = true end
  if depth <= DEEPEST then scan.kinds[depth], scan.names[depth] = kind, scan.opening end
  scan.depth, scan.key, scan.word, scan.opening = depth, false, false, false
end

local function close(scan, kind)
  local depth = scan.depth
  if depth == 0 or (depth <= DEEPEST and scan.kinds[depth] ~= kind) then scan.broken = true end
  if depth == 0 then return end
  scan.depth, scan.key, scan.word, scan.opening = depth - 1, false, false, false
  if depth <= 2 then scan.on.closed(scan, depth) end
end

-- A blank line ends an event: whatever came before, the next one is read from its start.
local function line_ended(scan, at)
  if at - scan.newline <= 2 then
    scan.depth, scan.key, scan.word, scan.opening = 0, false, false, false
  end
  scan.newline = at
end

local STEPS = {}

STEPS[STRUCTURE] = function(scan, chunk, at)
  at = skip(chunk, at, scan.stops)
  local code = byte(chunk, at)
  if not code then return at end
  if code == QUOTE then
    scan.state, scan.text, scan.is_value, scan.is_odd = STRING, "", false, false
  elseif code == COLON then
    if scan.word then
      scan.key, scan.opening, scan.word, scan.state = scan.word, scan.word, false, VALUE
      if scan.depth <= DEEPEST then scan.on.key(scan, scan.key) end
    else
      scan.broken = true
    end
  elseif OPENS[code] then
    open(scan, OPENS[code])
  elseif CLOSES[code] then
    close(scan, CLOSES[code])
  elseif code == NEWLINE then
    line_ended(scan, scan.passed + at)
  else
    scan.broken = true
  end
  return at + 1
end

-- The parity of the escapes before `to`. is_odd: that of the escapes before `from`.
local function parity(chunk, from, to, is_odd)
  local at = to - 1
  while at >= from and byte(chunk, at) == ESCAPE do at = at - 1 end
  local number = to - 1 - at
  if at < from and is_odd then number = number + 1 end
  return number % 2 == 1
end

STEPS[STRING] = function(scan, chunk, at)
  local to = find(chunk, '"', at, true) or #chunk + 1
  local text = scan.text
  if text and scan.depth <= DEEPEST then
    if #text + to - at > LONGEST then scan.text = false
    else scan.text = text .. sub(chunk, at, to - 1) end
  end
  scan.is_odd = parity(chunk, at, to, scan.is_odd)
  if to > #chunk then return to end
  if scan.is_odd then  -- an escaped quote
    scan.is_odd = false
    if scan.text and scan.depth <= DEEPEST then scan.text = scan.text .. '"' end
    return to + 1
  end
  scan.state, text = STRUCTURE, scan.text
  if not scan.is_value then
    scan.word = text or ""
  elseif text and scan.depth <= DEEPEST then
    scan.on.text(scan, text)
  end
  return to + 1
end

STEPS[VALUE] = function(scan, chunk, at)
  at = skip(chunk, at, BLANK)
  local code = byte(chunk, at)
  if not code then return at end
  if OPENS[code] then
    scan.state = STRUCTURE
    return at
  end
  scan.opening = false
  if code == QUOTE then
    scan.state, scan.text, scan.is_value, scan.is_odd = STRING, "", true, false
    return at + 1
  end
  scan.state, scan.text = DIGIT[code] and STRUCTURE or NUMBER, ""
  return at
end

STEPS[NUMBER] = function(scan, chunk, at)
  local to = skip(chunk, at, DIGIT)
  if scan.text then
    if #scan.text + to - at > DIGITS then scan.text = false
    else scan.text = scan.text .. sub(chunk, at, to - 1) end
  end
  if to > #chunk then return to end
  scan.state = STRUCTURE
  local is_whole = not find(chunk, "^[%.eE]", to)
  if scan.text and is_whole and scan.depth <= DEEPEST then scan.on.number(scan, scan.text) end
  return to
end

local function feed(scan, chunk)
  local at, size = 1, #chunk
  while at <= size do
    at = STEPS[scan.state](scan, chunk, at)
    if scan.is_strict then
      scan.steps = scan.steps + 1
      if scan.broken or scan.steps > MOST_STEPS then return end
    end
  end
  scan.passed = scan.passed + size
end

-- The request: `model` of an object, if every parser finds the same one.

local ASKED = {
  key = function(scan, name)
    if scan.depth ~= 1 then return end
    -- Parsers differ in which of two equal names counts, and some ignore the case.
    local is_odd = name:lower() == "model" and (name ~= "model" or scan.has_model)
    -- Some drop bytes that they cannot read. A name is empty here if it is too long.
    if is_odd or name == "" or find(name, "[\\%c\128-\255]") then scan.broken = true end
    scan.has_model = scan.has_model or name == "model"
  end,
  text = function(scan, value)
    if scan.depth == 1 and scan.key == "model" then scan.model = value end
  end,
  number = function() end,
  closed = function(scan, depth) scan.is_closed = depth == 1 end,
}

-- Whether every backend reads JSON in UTF-8. A form can lie in a text of JSON. In other encodings
-- quotes and escapes stand elsewhere. Two headers of a name come with a comma between.
local function is_plain_json(kind)
  local media, rest = kind:lower():gsub("%s", ""):match("^([%w%.+%-]+/[%w%.+%-]+)(.*)$")
  if not media or not find(media, "[/+]json$") then return false end
  return rest == "" or rest == ";charset=utf-8" or rest == ';charset="utf-8"'
end

local function asked_model(body)
  if not find(body, "^%s*{") then return nil end
  local scan = new_scan(ASKED, true, false)
  feed(scan, body)
  if scan.broken or not scan.is_closed or scan.depth ~= 0 then return nil end
  local model = scan.model
  return model and #model <= LONGEST and find(model, MODEL) and model or nil
end

-- The answer. first: the depth of the objects that come one after the other. base: the depth of the
-- object that has the usage. ends: the object says that no other usage follows.

local function first_of(scan)
  return scan.kinds[1] == "[" and 2 or 1
end

local function base_of(scan)
  local first = first_of(scan)
  if scan.depth > first and NESTED[scan.names[first + 1]] then return first + 1 end
  return first
end

local ANSWERED = {
  key = function(scan, name)
    if name == "finishReason" then  -- of a candidate, of Gemini
      local first = first_of(scan)
      if scan.depth == first + 2 and scan.names[first + 1] == "candidates" then scan.ends = true end
    end
  end,
  text = function(scan, value)
    local base = base_of(scan)
    if scan.depth ~= base or scan.kinds[base] ~= "{" then return end
    if NAMES[scan.key] then
      if find(value, MODEL) then scan.model, scan.changed = value, true end
    elseif scan.key == "type" and base == 1 and LAST[value] then
      scan.ends = true
    end
  end,
  number = function(scan, digits)
    local base = base_of(scan)
    if not USAGE[scan.names[base + 1]] or scan.kinds[base + 1] ~= "{" then return end
    local name
    if scan.depth == base + 1 then name = COUNTS[scan.key]
    elseif scan.depth == base + 2 and scan.kinds[base + 2] == "{" then name = DETAILS[scan.key] end
    if name then
      scan.counts[name], scan.has_usage, scan.changed = tonumber(digits), true, true
    end
  end,
  closed = function(scan, depth)
    -- Events are objects, apart from `[DONE]`. Another answer ends with its only value.
    local is_whole = depth == 1 and (scan.stops ~= EVENT_MARKS or scan.kinds[1] == "[")
    if is_whole or (scan.ends and depth == first_of(scan)) then
      scan.is_last, scan.changed = true, true
    end
  end,
}

local function word(scan, status)
  local n = scan.counts
  local read, write = n.cache_read or 0, n.cache_write or 0  -- Anthropic counts them apart
  local thoughts = n.thoughts or 0                             -- and so does Gemini with these
  return string.format("%s:%.0f:%.0f:%.0f:%.0f:%.0f", status,
    (n.input or 0) + (n.tool_results or 0) + read + write, (n.output or 0) + thoughts,
    (n.cached or 0) + read, (n.written or 0) + write, (n.reasoning or 0) + thoughts)
end

local function publish(handle, scan, status)
  local metadata = handle:streamInfo():dynamicMetadata()  -- outlives no step: fetched each time
  local tokens, model = word(scan, status), scan.model
  if tokens ~= scan.tokens then metadata:set(USED, "tokens", tokens) end
  if model and model ~= scan.told then metadata:set(USED, "model", model) end
  scan.tokens, scan.told = tokens, model
end

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove("accept-encoding")
  local kind, coding = headers:get("content-type") or "", headers:get("content-encoding")
  if coding or not is_plain_json(kind) then return end
  local body = handle:body()
  if not body then return end
  local model = asked_model(body:getBytes(0, body:length()))
  if model then handle:streamInfo():dynamicMetadata():set(REQUEST, "model", model) end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if sub(headers:get(":status") or "", 1, 1) ~= "2" then return end
  local kind = (headers:get("content-type") or ""):lower()
  local is_events = find(kind, "event-stream", 1, true)
  if not is_events and not find(kind, "json", 1, true) then return end
  local scan = new_scan(ANSWERED, false, is_events)
  local coding = headers:get("content-encoding")
  if coding and coding ~= "identity" then return publish(handle, scan, "encoded") end
  publish(handle, scan, "partial")
  for chunk in handle:bodyChunks() do
    feed(scan, chunk:getBytes(0, chunk:length()))
    if scan.changed then
      scan.changed = false
      publish(handle, scan, scan.is_last and scan.has_usage and "complete" or "partial")
    end
  end
  publish(handle, scan, scan.has_usage and "complete" or "none")
end
