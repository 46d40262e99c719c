-- A decision service as one writes it in nginx with Lua: rules in a table, buckets as text in the shared dictionary (read,
-- then written), claims decoded from the token without a look at its signature, a window's count for loops. It is what
-- Portcullis is measured beside; `five` is set by the configuration.
local cjson = require "cjson.safe"

local counters = ngx.shared.counters
local floor, max, min, ceil = math.floor, math.max, math.min, math.ceil

local function claim(name)
  return function(request)
    local claims = request.claims
    local value = claims and claims[name]
    return value ~= nil and tostring(value) or nil
  end
end

local function header(name)
  return function(request)
    local value = request.headers[name]
    if type(value) == "table" then value = value[1] end
    return value
  end
end

local function address(request) return request.address end

local function rule(name, ...)
  return { name = name, keys = { ... }, rate = 100000000, burst = 100000000 }
end

local policies = {
  { id = "api", prefix = "/v1", rules = { rule("one", address) } },
  { id = "other", prefix = "/v2", rules = {} },
}
local five = {
  { id = "api", prefix = "/v1", loops = { window = 1, threshold = 1000000000 }, rules = {
    rule("subject", claim("sub")),
    rule("issuer", claim("iss")),
    rule("plan", claim("sub"), header("x-plan")),
    rule("address", address),
    rule("everyone"),
  } },
  { id = "other", prefix = "/v2", rules = {} },
}

local function decoded(field)
  local payload = field and field:match("^Bearer [^.]*%.([^.]*)%.")
  if not payload then return nil end
  payload = payload:gsub("-", "+"):gsub("_", "/")
  local text = ngx.decode_base64(payload .. ("="):rep(-#payload % 4))
  return text and cjson.decode(text)
end

local function values(rule, request)
  local found = {}
  for place, key in ipairs(rule.keys) do
    local value = key(request)
    if not value then return nil end
    found[place] = value
  end
  return table.concat(found, "|")
end

local function take(key, rate, burst, cost, now)
  local tokens, last = burst, now
  local state = counters:get(key)
  if state then
    local had, at = state:match("^([^:]+):([^:]+)$")
    tokens, last = tonumber(had) or burst, tonumber(at) or now
  end
  tokens = min(burst, tokens + max(0, now - last) * rate)
  local allowed = tokens >= cost
  if allowed then tokens = tokens - cost end
  counters:set(key, string.format("%.6f:%.6f", tokens, now))
  return allowed, floor(tokens), max(1, ceil((cost - tokens) / rate))
end

local function loops(policy, request)
  local parts = { request.method, request.path }
  for _, rule in ipairs(policy.rules) do
    parts[#parts + 1] = values(rule, request) or ""
  end
  local key = "loop:" .. policy.id .. ":" .. ngx.crc32_long(table.concat(parts, "|"))
  return (counters:incr(key, 1, 0, policy.loops.window) or 0) >= policy.loops.threshold
end

local function refuse(policy, rule, reason, seconds)
  ngx.header["X-Reason"] = reason
  ngx.header["X-Policy"] = policy.id
  ngx.header["X-Rule"] = rule
  ngx.header["Retry-After"] = seconds
  ngx.exit(429)
end

local headers = ngx.req.get_headers()
local uri = headers["x-original-uri"]
if type(uri) ~= "string" then return ngx.exit(400) end
local request = {
  method = headers["x-original-method"] or "GET",
  path = uri:match("^[^?]*"),
  headers = headers,
  address = ngx.var.remote_addr,
  claims = decoded(headers["authorization"]),
}
local now = ngx.now()
for _, policy in ipairs(ngx.var.five == "1" and five or policies) do
  if request.path:sub(1, #policy.prefix) == policy.prefix then
    if policy.loops and loops(policy, request) then
      return refuse(policy, "", "loop_detected", policy.loops.window)
    end
    for _, rule in ipairs(policy.rules) do
      local found = values(rule, request)
      if found then
        local key = policy.id .. ":" .. rule.name .. ":" .. found
        local allowed, remaining, seconds = take(key, rule.rate, rule.burst, 1, now)
        if not allowed then return refuse(policy, rule.name, "token_bucket_exceeded", seconds) end
        ngx.header["RateLimit-Limit"] = rule.burst
        ngx.header["RateLimit-Remaining"] = remaining
        ngx.header["RateLimit-Reset"] = 1
      end
    end
  end
end
ngx.header["Content-Type"] = "application/json"
ngx.exit(200)
