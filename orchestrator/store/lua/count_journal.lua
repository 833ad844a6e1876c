-- Purpose: count what the journal has that is not yet counted, for metrics. Each entry is counted once: the sums and the
--          place up to which they go change in one script.
-- KEYS: 1 journal stream, 2 hash of sums, 3 hash of open runs, 4 string: that somebody asks.
-- ARGV: 1 entries at most, 2 JSON {histogram: bounds in ms, ascending}, 3 ms for which the keeper goes on to count after
--       this; 0: it is the keeper, who does not count where nobody asks.
-- State: of the hash of sums `@cursor` is the newest entry counted, `@place` which one it is of all that were ever written,
--        `@names KIND` and `@name KIND NAME` are the names that have a place of their own. All else are sums: family and
--        labels with '\31' between; the value is a number, or of a histogram `TOTAL BOUND:COUNT ...` in ms.
--        Of the hash of open runs the value is what must be paired with what comes later (JSON, see `first_seen`).
-- Returns: {entries that are left, entries counted}; {-1, 0} nobody asks.
-- Cost: O(entries); after a gap, and at the first call, O(runs). Makes keys by itself: which runs, plans and messages, it
--       finds out.
if ARGV[3] ~= '0' then
  redis.call('SET', KEYS[4], '1', 'PX', ARGV[3])
elseif redis.call('EXISTS', KEYS[4]) == 0 then
  return {-1, 0}
end
local MOST_NAMES = 1000   -- of workflows, of agents, of tasks: whatever comes later is `other`
local ENDS = {   -- of an attempt: event -> outcome
  succeeded = 'succeeded', failed = 'failed', cancelled = 'cancelled', retrying = 'retried', lost = 'lost',
  handed_off = 'handed_off', fell_back = 'fell_back',
}
local OVER = {succeeded = true, failed = true, cancelled = true, skipped = true}
local MESSAGE_OVER = {acknowledged = true, failed = true, expired = true, dead = true}

local journal, sums_key, open_key, prefix = KEYS[1], KEYS[2], KEYS[3], string.sub(KEYS[1], 1, -8)
local most, bounds = tonumber(ARGV[1]), cjson.decode(ARGV[2])
local sums, spread, named = {}, {}, {}
local runs, kept = {}, {}   -- those of this call; ids of those that stand in the hash
local tasks = {}            -- {plan: {step: {agent, task, agent, task}}}: what it runs, and what its fallback does

local function field_of(family, one, two, three)
  if three then return family .. '\31' .. one .. '\31' .. two .. '\31' .. three end
  if two then return family .. '\31' .. one .. '\31' .. two end
  return one and family .. '\31' .. one or family
end

local function add(by, ...)
  local field = field_of(...)
  sums[field] = (sums[field] or 0) + by
end

local function observe(ms, family, one, two)
  ms = math.max(ms, 0)   -- of a clock that was set back
  local field = field_of(family, one, two)
  local known = spread[field]
  if not known then
    known = {total = 0}
    spread[field] = known
  end
  local bound = 'inf'
  for _, most in ipairs(bounds[family]) do
    if ms <= most then
      bound = tostring(most)
      break
    end
  end
  known.total = known.total + ms
  known[bound] = (known[bound] or 0) + 1
end

-- The name as a label; `other` where all places are taken.
local function label(kind, name)
  local field = '@name ' .. kind .. ' ' .. name
  if not named[field] then
    named[field] = name
    if redis.call('HSETNX', sums_key, field, '1') == 1 then
      if redis.call('HINCRBY', sums_key, '@names ' .. kind, 1) > MOST_NAMES then
        redis.call('HINCRBY', sums_key, '@names ' .. kind, -1)
        redis.call('HDEL', sums_key, field)
        named[field] = 'other'
      end
    end
  end
  return named[field]
end

-- --- runs ------------------------------------------------------------------------------------------------------------

local function move(run, state)
  if run.passing or run.state == state then return end
  if run.state then add(-1, 'runs', run.workflow, run.state) end
  if state then add(1, 'runs', run.workflow, state) end
  run.state = state
end

-- A run that nothing is known of yet. passing: it is over, or gone, so nothing about it is kept.
local function first_seen(id)
  local about = redis.call('HMGET', prefix .. 'run:' .. id, 'state', 'workflow', 'plan', 'created_at')
  local run = {
    workflow = label('workflow', about[2] or 'unknown'), plan = about[3] or '', created = tonumber(about[4]),
    attempts = {}, passing = not about[1] or over(about[1]) or nil,
  }
  move(run, about[1])
  runs[id] = run
  return run
end

local function run_of(id)
  local run = runs[id]
  if run then return run end
  local text = redis.call('HGET', open_key, id)
  if not text then return first_seen(id) end
  run = cjson.decode(text)
  runs[id], kept[id] = run, true
  return run
end

local function end_attempt_of(run, step, at, outcome)
  local started, agent, task = unpack(run.attempts[step])
  run.attempts[step] = nil
  add(1, 'attempts_total', agent, task, outcome)
  observe(at - started, 'attempt_duration_seconds', agent, task)
  return agent
end

local function count_run(word, id, at)
  local run = run_of(id)
  if word == 'created' then
    add(1, 'runs_created_total', run.workflow)
    run.passing = nil   -- also one that is over by now: its end is still to come
    move(run, 'pending')
  elseif word == 'started' or word == 'resumed' then
    move(run, word == 'resumed' and run.before or 'running')
  elseif word == 'paused' then
    run.before = run.state
    move(run, 'paused')
  elseif over(word) then
    for step in pairs(run.attempts) do end_attempt_of(run, step, at, 'cancelled') end
    add(1, 'runs_finished_total', run.workflow, word)
    if run.created then observe(at - run.created, 'run_duration_seconds', run.workflow) end
    move(run, nil)
    run.passing, run.changed = true, true
    return
  end
  run.changed = true
end

-- --- steps -----------------------------------------------------------------------------------------------------------

local function body_of(plan, step)
  local text = redis.call('HGET', prefix .. 'plan:' .. plan, 'b:' .. step)
  local body = text and cjson.decode(text)
  return body and body.task and {body.agent or false, body.task, unpack(body.fallback or {})}
end

local function plan_step(plan, step)
  local base = split(step)
  local known = tasks[plan] and tasks[plan][base]
  if not known then
    known = body_of(plan, base) or body_of(plan, base .. '.item') or {}   -- an item goes by the name of the whole
    tasks[plan] = tasks[plan] or {}
    tasks[plan][base] = known
  end
  return known
end

-- The task that an attempt runs. Of a step that was handed on, its record knows it.
local function task_of(run, id, step, agent)
  local known = plan_step(run.plan, step)
  if known[1] == agent or known[1] == false then return known[2] end
  if known[3] == agent then return known[4] end
  local text = redis.call('HGET', prefix .. 'run:' .. id .. ':steps', step)
  local rec = text and cjson.decode(text)
  return rec and rec.agent == agent and rec.task or 'unknown'
end

local function count_start(run, id, step, at, queued)
  if run.attempts[step] then end_attempt_of(run, step, at, 'cancelled') end
  local waited, agent, priority = string.match(queued, '^(%d+) (%S+) (%S+)$')
  local name, task = label('agent', agent), task_of(run, id, step, agent)
  if label('task', agent .. ' ' .. task) == 'other' then task = 'other' end
  observe(tonumber(waited), 'step_queue_wait_seconds', name, priority)
  run.attempts[step], run.changed = {at, name, task}, true
end

local function count_step(word, id, step, at, queued)
  local run = run_of(id)
  if queued then return count_start(run, id, step, at, queued) end
  local outcome = ENDS[word]
  if outcome and run.attempts[step] then
    local agent = end_attempt_of(run, step, at, outcome)
    run.changed = true
    if word == 'retrying' then add(1, 'retries_total', 'step', agent) end
    if word == 'lost' then add(1, 'leases_lapsed_total', 'step', agent) end
  end
  if OVER[word] then add(1, 'steps_finished_total', run.workflow, word) end
end

-- --- messages --------------------------------------------------------------------------------------------------------

local function count_message(word, entry)
  local agent = entry.to and label('agent', entry.to)
  if not agent then return end
  if word == 'sent' then
    add(1, 'messages_sent_total', agent, entry.priority)
  elseif word == 'delivered' then
    add(1, 'messages_delivered_total', agent)
  elseif word == 'retrying' then
    add(1, 'retries_total', 'message', agent)
  elseif word == 'lost' then
    add(1, 'leases_lapsed_total', 'message', agent)
  elseif MESSAGE_OVER[word] then
    add(1, 'messages_finished_total', agent, word)
    local key = prefix .. 'msg:' .. entry.m
    local times = redis.call('HMGET', key, 'created_at', 'delivered_at', 'finished_at', 'priority')
    if times[2] and times[4] then observe(times[2] - times[1], 'message_queue_wait_seconds', agent, times[4]) end
    if times[2] and times[3] then observe(times[3] - times[2], 'message_duration_seconds', agent) end
  end
end

local function named_fields(fields)
  local entry = {}
  for i = 1, #fields, 2 do entry[fields[i]] = fields[i + 1] end
  return entry
end

-- fields: of a run or a step `e`, `r`, `s`, `a` and `q` stand in this order.
local function count_entry(id, fields)
  local subject, word = string.match(fields[2], '^(%a+)%.(.+)$')
  if subject == 'step' then
    count_step(word, fields[4], fields[6], tonumber(string.match(id, '^%d+')), fields[10])
  elseif subject == 'run' then
    count_run(word, fields[4], tonumber(string.match(id, '^%d+')))
  elseif subject == 'message' then
    count_message(word, named_fields(fields))
  elseif subject == 'handoff' then
    add(1, 'handoffs_total', label('agent', named_fields(fields).to), word)
  end
end

-- --- the whole -------------------------------------------------------------------------------------------------------

-- What is open, looked up anew: entries may be missing, or nothing was counted so far.
local function look_again()
  local known = redis.call('HGETALL', open_key)
  for i = 1, #known, 2 do
    local id = known[i]
    local run, state = cjson.decode(known[i + 1]), redis.call('HGET', prefix .. 'run:' .. id, 'state')
    for step, attempt in pairs(run.attempts) do
      local text = redis.call('HGET', prefix .. 'run:' .. id .. ':steps', step)
      if not text or cjson.decode(text).state ~= 'running' then run.attempts[step] = nil end
    end
    if not state or over(state) then
      move(run, nil)
      run.passing = true
    else
      move(run, state)
    end
    run.changed, runs[id], kept[id] = true, run, true
  end
  for _, id in ipairs(redis.call('ZRANGE', prefix .. 'runs', 0, -1)) do
    if not runs[id] then
      local state = redis.call('HGET', prefix .. 'run:' .. id, 'state')
      if state and not over(state) then first_seen(id).changed = true end
    end
  end
end

local function write_spread(field, seen)
  local total, counts = seen.total, {}
  seen.total = nil
  local known = redis.call('HGET', sums_key, field)
  if known then
    total = total + string.match(known, '^%d+')
    for bound, count in string.gmatch(known, '(%w+):(%d+)') do seen[bound] = (seen[bound] or 0) + count end
  end
  for bound, count in pairs(seen) do counts[#counts + 1] = string.format('%s:%.0f', bound, count) end
  redis.call('HSET', sums_key, field, string.format('%.0f %s', total, table.concat(counts, ' ')))
end

local function write_all()
  for field, by in pairs(sums) do
    if by ~= 0 and redis.call('HINCRBY', sums_key, field, by) == 0 then redis.call('HDEL', sums_key, field) end
  end
  for field, seen in pairs(spread) do write_spread(field, seen) end
  for id, run in pairs(runs) do
    if run.passing then
      if kept[id] then redis.call('HDEL', open_key, id) end
    elseif run.changed then
      run.changed = nil
      redis.call('HSET', open_key, id, cjson.encode(run))
    end
  end
end

-- How many entries were ever written to the journal, and how many of them it has.
local function journal_size()
  local about, written, length = redis.pcall('XINFO', 'STREAM', journal), 0, 0
  for i = 1, #about, 2 do   -- none of an error: there is no journal yet
    if about[i] == 'entries-added' then written = about[i + 1] end
    if about[i] == 'length' then length = about[i + 1] end
  end
  return written, length
end

local written, length = journal_size()
local known = redis.call('HMGET', sums_key, '@cursor', '@place')
local cursor, place, gone = known[1] or '0', tonumber(known[2]), written - length
if place and place > written then place, cursor = 0, '0' end   -- the journal is a new one
local missed = place and math.max(0, gone - place) or 0
if missed > 0 then add(missed, 'journal_entries_missed_total') end
if not place or missed > 0 then look_again() end
local entries = redis.call('XRANGE', journal, '(' .. cursor, '+', 'COUNT', most)
for _, entry in ipairs(entries) do
  -- One that cannot be read must not be in the way of all that follow.
  if not pcall(count_entry, entry[1], entry[2]) then add(1, 'journal_entries_missed_total') end
end
place = #entries < most and written or math.max(place or 0, gone) + #entries
if #entries > 0 then add(#entries, 'journal_entries_total') end
if #entries > 0 or missed > 0 or not known[2] then
  write_all()
  redis.call('HSET', sums_key, '@cursor', #entries > 0 and entries[#entries][1] or cursor, '@place', place)
end
return {written - place, #entries}
