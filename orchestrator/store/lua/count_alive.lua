-- Purpose: count again, at one moment, what the counters say: attempts of each agent that run, runs and schedules that
--          pin each plan. Changes nothing.
-- KEYS: 1 runs zset, 2 timers zset, 3 message timers zset, 4 queues hash, 5 schedules hash, 6 handoffs zset.
-- ARGV: 1 what every key starts with, 2 JSON {runs: those known to live, plans: hashes known, held: messages that may be
--       held without a lease, since: ms, whatever is newer than that is looked at, too}.
-- Returns: {name of the counter, what it says, what was counted, ...}, of those that differ.
-- Cost: O(runs that live + timers + schedules). Makes keys by itself: which runs and messages, it finds out.
local prefix, known = ARGV[1], cjson.decode(ARGV[2])
local agents, plans, seen = {}, {}, {}

local function add(counts, name, n) counts[name] = (counts[name] or 0) + n end

local function count_run(id)
  if seen[id] then return end
  seen[id] = true
  local run = redis.call('HMGET', prefix .. 'run:' .. id, 'state', 'plan')
  if run[1] ~= 'pending' and run[1] ~= 'running' and run[1] ~= 'paused' then return end
  add(plans, run[2], 1)
  local children = redis.call('HGET', prefix .. 'plan:' .. run[2], '$children')
  for _, child in ipairs(children and cjson.decode(children) or {}) do add(plans, child, 1) end
end

local function count_held(id)
  if seen[id] then return end
  seen[id] = true
  local held = redis.call('HMGET', prefix .. 'msg:' .. id, 'state', 'box', 'lease_until')
  if held[1] == 'delivered' and not held[3] then add(agents, string.match(held[2], '^[^/]+'), 1) end
end

for _, id in ipairs(known.runs) do count_run(id) end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], known.since, '+inf')) do count_run(id) end
for _, id in ipairs(known.held) do count_held(id) end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], known.since, '+inf')) do count_held(id) end
for _, text in ipairs(redis.call('HVALS', KEYS[5])) do
  for _, pin in ipairs(cjson.decode(text).pins) do add(plans, string.sub(pin, #prefix + 6), 1) end
end
for _, timer in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local run, step = string.match(timer, '^lease (%S+) (%S+)')
  local text = run and redis.call('HGET', prefix .. 'run:' .. run .. ':steps', step)
  local good, rec = pcall(cjson.decode, text or '{}')
  if good and rec.worker then add(agents, string.match(rec.queue, '^%S+'), 1) end
end
for _, timer in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local box = string.match(timer, '^lease %S+ ([^/ ]+)')
  if box then add(agents, box, 1) end
end

local wrong = {}
local function compare(name, says, counted)
  if tonumber(says or 0) ~= counted then
    for _, value in ipairs({name, tostring(says or 0), tostring(counted)}) do wrong[#wrong + 1] = value end
  end
end

local counters = redis.call('HGETALL', KEYS[4])
for i = 1, #counters, 2 do
  local agent = string.match(counters[i], '^running (.+)$')
  if agent then
    compare(counters[i], counters[i + 1], agents[agent] or 0)
    agents[agent] = nil
  end
end
for agent, counted in pairs(agents) do compare('running ' .. agent, '0', counted) end
for _, hash in ipairs(known.plans) do plans[hash] = plans[hash] or 0 end
for hash, counted in pairs(plans) do
  local says = redis.call('HGET', prefix .. 'plan:' .. hash, 'live')
  compare('live of plan ' .. hash, says or 0, counted)
end
return wrong
