-- Purpose: what the transitions of a run share. Put before each script that changes a run.
-- KEYS: 1 run hash, 2 steps hash, 3 outputs hash, 4 events stream, 5 plan hash, 6 timers zset, 7 ready zset,
--       8 queues hash, 9 wake list, 10 ended stream, 11 journal stream. ARGV[1]: run id. Time is the server's.
-- Cost: O(successors of what became terminal).
local RUN, STEPS, OUTPUTS, EVENTS, PLAN = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local TIMERS, READY, QUEUES, WAKE, ENDED, JOURNAL = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local RUN_ID = ARGV[1]
local RESCUE_MS = 5000   -- a decision not taken by then is taken by the keeper
local SOON_MS = 1000     -- the keeper looks at least this often by itself
-- Entries the journal keeps, the default of the setting `journal_events`: no script of a run gets the settings.
-- Where the setting is smaller, the next message trims to it.
local JOURNAL_EVENTS = 100000

local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)
local SEQ = clock[1] .. string.format('%06d', clock[2])
local ready, decide = {}, {}
-- Stores what a handler sends, in the variant of finish_step that has messages to store; see _send_along.lua.
local send_along = function() end

local function base_of(id) return string.match(id, '^(.-)%[%d+%]$') end

local function record(id)
  local text = redis.call('HGET', STEPS, id)
  return text and cjson.decode(text)
end

local function save(id, rec) redis.call('HSET', STEPS, id, cjson.encode(rec)) end

local function node(id) return cjson.decode(redis.call('HGET', PLAN, 'g:' .. (base_of(id) or id))) end

-- The journal gets the name and the ids, no data. Not the progress: it would push everything else out.
local function journal(name, step, attempt)
  if name == 'step.progress' then return end
  local ids = {'r', RUN_ID}
  if step then ids[3], ids[4] = 's', step end
  if step and attempt then ids[5], ids[6] = 'a', attempt end
  redis.call('XADD', JOURNAL, 'MAXLEN', '~', JOURNAL_EVENTS, '*', 'e', name, unpack(ids))
end

local function emit(name, step, attempt, data)
  redis.call('XADD', EVENTS, '*', 'e', name, 's', step or '', 'a', attempt or '', 'd', data or '')
  journal(name, step, attempt)
end

local function timer(due, ...)
  redis.call('ZADD', TIMERS, due, table.concat({...}, ' '))
  if due - NOW < SOON_MS then
    redis.call('LPUSH', WAKE, '1')
    redis.call('LTRIM', WAKE, 0, 0)
  end
end

local function drop_timer(...) redis.call('ZREM', TIMERS, table.concat({...}, ' ')) end

-- A step may go to its agent now: note it for the keeper and for the caller.
local function offer(id, rec, graph)
  if not rec.queue then
    rec.queue = (rec.agent or graph.agent) .. ' ' .. (graph.priority or redis.call('HGET', RUN, 'priority'))
    redis.call('HSETNX', QUEUES, 'mark ' .. rec.queue, '0')
  end
  rec.state, rec.ready_at, rec.seq = 'pending', NOW, SEQ
  redis.call('ZADD', READY, 0, rec.queue .. ' ' .. SEQ .. ' ' .. RUN_ID .. ' ' .. id)
  ready[#ready + 1] = id
  ready[#ready + 1] = rec.segment or redis.call('HGET', PLAN, 's:' .. (base_of(id) or id))
  save(id, rec)
end

-- Another agent than the plan's runs the step from now on. segment: the canvas (JSON) of the step on that agent.
local function assign(rec, agent, task, segment)
  rec.agent, rec.task, rec.segment, rec.queue = agent, task, segment, nil
end

-- Somebody must evaluate an expression before the run can go on here.
local function ask(id)
  timer(NOW + RESCUE_MS, 'decide', RUN_ID, id, '0')
  decide[#decide + 1] = id
end

local function withdraw(id, rec)
  if rec.seq then redis.call('ZREM', READY, rec.queue .. ' ' .. rec.seq .. ' ' .. RUN_ID .. ' ' .. id) end
end

-- The end of an attempt, however it ended.
local function close_attempt(id, rec)
  if rec.worker then
    drop_timer('lease', RUN_ID, id, rec.attempt)
    drop_timer('timeout', RUN_ID, id, rec.attempt)
    redis.call('HINCRBY', QUEUES, 'running ' .. string.match(rec.queue, '^%S+'), -1)
    redis.call('HINCRBY', RUN, 'active', -1)
    rec.worker, rec.lease_until = nil, nil
  end
end

local function close(id, rec, state)
  close_attempt(id, rec)
  rec.state, rec.finished_at, rec.seq, rec.queue, rec.retry_at = state, NOW, nil, nil, nil
  save(id, rec)
end

local function started()
  if redis.call('HGET', RUN, 'state') == 'pending' then
    redis.call('HSET', RUN, 'state', 'running', 'started_at', NOW)
    emit('run.started')
  end
end

-- Why a step whose needs are all done does not run, or nil.
local function refusal(id, graph)
  if graph.gate then
    local gate = record(graph.gate)
    if gate and gate.state == 'skipped' then return 'its container ' .. graph.gate .. ' was skipped' end
  end
  if graph.run_if == 'all_success' or graph.run_if == 'any_success' then
    local failed = tonumber(redis.call('HGET', STEPS, '#' .. id .. '!f') or 0)
    local skipped = tonumber(redis.call('HGET', STEPS, '#' .. id .. '!s') or 0)
    local good = graph.needs - failed - skipped
    if graph.run_if == 'all_success' and good < graph.needs then
      return 'run_if all_success: ' .. failed .. ' failed and ' .. skipped .. ' skipped of ' .. graph.needs .. ' needs'
    elseif graph.run_if == 'any_success' and good == 0 then
      return 'run_if any_success: none of ' .. graph.needs .. ' needs succeeded'
    end
  end
end

local function join_state(id, graph)
  if redis.call('HGET', STEPS, '#' .. id .. '!f') then return 'failed' end
  local skipped = tonumber(redis.call('HGET', STEPS, '#' .. id .. '!s') or 0)
  return skipped == graph.needs and 'skipped' or 'succeeded'
end

-- All needs of a step are done. Returns the state of the step if that ends it at once.
local function arrive(id, graph)
  local reason = refusal(id, graph)
  if reason then
    save(id, {state = 'skipped', finished_at = NOW, reason = reason})
    emit('step.skipped', id, nil, reason)
    return 'skipped'
  elseif graph.kind == 'join' then
    local state = join_state(id, graph)
    save(id, {state = state, finished_at = NOW})
    return state
  elseif graph.dispatched then
    offer(id, {}, graph)
  else
    save(id, {state = 'pending', ready_at = NOW})
    ask(id)
  end
end

-- A step of the plan is terminal: walk on to whatever that completes.
local function settle(first, state)
  local work = {{first, state}}
  while #work > 0 do
    local id, done = unpack(table.remove(work))
    redis.call('HINCRBY', RUN, 'open', -1)
    for _, follower in ipairs(node(id).next) do
      if done ~= 'succeeded' then
        redis.call('HINCRBY', STEPS, '#' .. follower .. (done == 'failed' and '!f' or '!s'), 1)
      end
      local graph = node(follower)
      if redis.call('HINCRBY', STEPS, '#' .. follower, 1) == graph.needs then
        local ended = arrive(follower, graph)
        if ended then work[#work + 1] = {follower, ended} end
      end
    end
  end
end

local function cancel(id, rec)
  rec.stopped = rec.worker   -- tells the worker's next heartbeat to interrupt the handler
  withdraw(id, rec)
  drop_timer('decide', RUN_ID, id, '0')
  drop_timer('retry', RUN_ID, id, rec.attempt or 0)
  close(id, rec, 'cancelled')
  emit('step.cancelled', id, rec.attempt)
end

-- One item failed and that fails the foreach: items that have not started never will.
local function stop_items(base, rec, failure)
  rec.failure = failure
  for i = 0, rec.cursor - 1 do
    local id = base .. '[' .. i .. ']'
    local item = record(id)
    if item.state == 'pending' or item.state == 'waiting' then
      cancel(id, item)
      rec.done = rec.done + 1
    end
  end
end

-- An item of a foreach is terminal: start the next one, or ask for the whole to be collected.
local function settle_item(base, state, failure, closing)
  local rec, graph = record(base), node(base)
  rec.done = rec.done + 1
  if state == 'failed' and graph.on_item_error == 'fail' and not rec.failure then stop_items(base, rec, failure) end
  if rec.cursor < rec.n and not rec.failure and not closing then
    local id = base .. '[' .. rec.cursor .. ']'
    rec.cursor = rec.cursor + 1
    offer(id, {}, graph)
  end
  save(base, rec)
  if rec.done == rec.cursor and not closing then ask(base) end
end

local function cancel_leftovers()
  local fields = redis.call('HGETALL', STEPS)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 1) ~= '#' then
      local rec = cjson.decode(fields[i + 1])
      if rec.state == 'pending' or rec.state == 'running' or rec.state == 'waiting' then cancel(fields[i], rec) end
    end
  end
end

-- pending|running -> succeeded | failed | cancelled
local function end_run(state, outputs, failure)
  if state ~= 'succeeded' then cancel_leftovers() end
  redis.call('HSET', RUN, 'state', state, 'finished_at', NOW)
  if outputs then redis.call('HSET', RUN, 'outputs', outputs) end
  if failure then redis.call('HSET', RUN, 'error', failure) end
  redis.call('HDEL', RUN, 'closing')
  drop_timer('run', RUN_ID, '-', '0')
  drop_timer('decide', RUN_ID, '$outputs', '0')
  emit('run.' .. state, nil, nil, failure)
  redis.call('XADD', ENDED, 'MAXLEN', '~', 1000, '*', 'run', RUN_ID)
  local retention = redis.call('HGET', RUN, 'retention_ms')
  for _, key in ipairs({RUN, STEPS, OUTPUTS, EVENTS}) do redis.call('PEXPIRE', key, retention) end
  if redis.call('HINCRBY', PLAN, 'live', -1) <= 0 then redis.call('PEXPIRE', PLAN, retention) end
end

-- After a transition: is the run over?
local function conclude()
  local run = redis.call('HMGET', RUN, 'open', 'active', 'closing', 'error')
  if run[3] then
    if tonumber(run[2]) == 0 then end_run(run[3], nil, run[4] or nil) end
  elseif tonumber(run[1]) == 0 then
    if redis.call('HEXISTS', PLAN, '$outputs') == 1 then ask('$outputs') else end_run('succeeded') end
  end
end

-- A step, or an item, has failed for good.
local function fail(id, rec, failure)
  rec.error = cjson.decode(failure)
  close(id, rec, 'failed')
  emit('step.failed', id, rec.attempt, failure)
  local closing, base = redis.call('HGET', RUN, 'closing'), base_of(id)
  if base then
    settle_item(base, 'failed', rec.error, closing)
  elseif not closing and node(id).on_error == 'continue' then
    settle(id, 'failed')
  elseif not closing then
    redis.call('HSET', RUN, 'closing', 'failed', 'error', failure)
  end
  conclude()
end

local function advance() return {1, redis.call('HGET', RUN, 'priority'), ready, decide} end

-- Is this answer for the attempt that counts? Attempt 0 is a decision: of a pending step, or of a foreach whose items
-- are done.
local function current(rec, attempt)
  if not rec then return false end
  if attempt == 0 and rec.state == 'pending' then return not rec.queue end
  if attempt == 0 then return rec.state == 'running' and rec.n ~= nil and rec.done == rec.cursor end
  return rec.state == 'running' and rec.attempt == attempt
end
