-- Purpose: how a run ends: failures, compensations, its phases.
-- Cost: O(steps) where everything that is left is cancelled.

-- Whoever waits for a place under the run's concurrency key may start.
local function leave_slot()
  local key = redis.call('HGET', RUN, 'slot')
  if not key then return end
  redis.call('ZREM', PREFIX .. 'slots:' .. key .. ':wait', RUN_ID)
  if redis.call('ZREM', PREFIX .. 'slots:' .. key, RUN_ID) == 0 then return end
  local next = redis.call('ZPOPMIN', PREFIX .. 'slots:' .. key .. ':wait')
  if next[1] then
    redis.call('ZADD', PREFIX .. 'slots:' .. key, SEQ, next[1])
    call_on(next[1], '$start')
  end
end

-- pending|running|paused -> succeeded | failed | cancelled
local function end_run(state)
  if state ~= 'succeeded' then cancel_leftovers() end
  run.state = state
  redis.call('HSET', RUN, 'state', state, 'finished_at', NOW)
  redis.call('HDEL', RUN, 'stopping', 'phase', 'time_left')
  drop_timer('run', RUN_ID, '-', '0')
  drop_timer('decide', RUN_ID, '$outputs', '0')
  leave_slot()
  local unused = redis.call('HGET', RUN, 'signals')
  if unused and unused ~= '{}' then emit('run.unused_signals', nil, nil, unused) end
  emit('run.' .. state, nil, nil, redis.call('HGET', RUN, 'error') or nil)
  redis.call('XADD', ENDED, 'MAXLEN', '~', 1000, '*', 'run', RUN_ID)
  local about = redis.call('HMGET', RUN, 'retention_ms', 'retention_' .. state, 'parent', 'parent_step')
  local retention = about[2] or about[1]
  for _, key in ipairs({RUN, STEPS, OUTPUTS, EVENTS, RUN .. ':log'}) do redis.call('PEXPIRE', key, retention) end
  local children = redis.call('HGET', PLAN, '$children')
  local plans = children and cjson.decode(children) or {}
  local hash = redis.call('HGET', RUN, 'plan')
  local stem = string.sub(PLAN, 1, -1 - #hash)
  plans[#plans + 1] = hash
  for _, plan in ipairs(plans) do
    if redis.call('HINCRBY', stem .. plan, 'live', -1) <= 0 then redis.call('PEXPIRE', stem .. plan, retention) end
  end
  if about[3] then call_on(about[3], about[4]) end
end

-- The next compensation, the newest step first; false when there is none.
local function undo_next()
  local at = redis.call('HINCRBY', RUN, 'undo', -1)
  if at < 0 then return false end
  local base, suffix = split(redis.call('HGET', STEPS, '#u' .. at))
  local id = string.gsub(base, '%.item$', '') .. '.compensate' .. suffix
  begin(id, {}, node(id))
  return true
end

-- What is done has to be undone, in reverse order of completion.
local function begin_undo()
  if redis.call('HEXISTS', PLAN, '$undo') == 0 then return false end
  local done = {}
  local all = redis.call('HGETALL', STEPS)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 1) ~= '#' then
      local rec = cjson.decode(all[i + 1])
      if rec.undo and rec.state == 'succeeded' then done[#done + 1] = {rec.undo, all[i]} end
    end
  end
  table.sort(done, function(a, b) return a[1] < b[1] end)
  for at, entry in ipairs(done) do redis.call('HSET', STEPS, '#u' .. (at - 1), entry[2]) end
  redis.call('HSET', RUN, 'undo', #done)
  return undo_next()
end

local function begin_block(phase)
  local entry = redis.call('HGET', PLAN, '$entry:' .. phase)
  if not entry then return false end
  redis.call('HSET', RUN, 'open', redis.call('HGET', PLAN, '$count:' .. phase))
  if counts[RUN] then counts[RUN].open = nil end
  begin_all(cjson.decode(entry), '')
  return true
end

local PHASES = {main = 'compensate', compensate = 'on_failure', on_failure = 'finally'}

-- This part of the workflow is over: on to the next one that there is, or to the end of the run.
local function next_phase(verdict)
  local ahead = PHASES[run.phase]
  if verdict == 'succeeded' and run.phase == 'main' then ahead = 'finally' end
  cancel_leftovers()
  drop_timer('run', RUN_ID, '-', '0')
  redis.call('HDEL', RUN, 'stopping')
  run.stopping = nil
  while ahead do
    run.phase = ahead
    redis.call('HSET', RUN, 'phase', ahead)
    local began = false
    if ahead == 'compensate' then began = begin_undo()
    elseif ahead == 'finally' or verdict == 'failed' then began = begin_block(ahead) end
    if began then return end
    ahead = PHASES[ahead]
  end
  end_run(verdict)
end

-- After a transition: is this part of the workflow over?
local function conclude()
  if over(run.state) then return end
  local left, changed = redis.call('HMGET', RUN, 'open', 'active', 'verdict'), counts[RUN] or {}
  local open, active = left[1] + (changed.open or 0), left[2] + (changed.active or 0)
  if run.stopping then
    if active == 0 then next_phase(left[3]) end
  elseif run.phase ~= 'compensate' and open == 0 and active == 0 then
    if run.phase ~= 'main' then next_phase(left[3])
    elseif redis.call('HEXISTS', PLAN, '$outputs') == 1 then ask('$outputs')
    else
      redis.call('HSET', RUN, 'verdict', 'succeeded')
      next_phase('succeeded')
    end
  end
end

-- Nothing more of this part starts; what runs may end. The first error is the run's.
local function stop(verdict, failure)
  run.stopping = '1'
  redis.call('HSET', RUN, 'stopping', '1')
  if run.phase == 'main' then
    redis.call('HSET', RUN, 'verdict', verdict)
    if failure then redis.call('HSET', RUN, 'error', failure) end
  elseif run.phase == 'finally' and redis.call('HGET', RUN, 'verdict') == 'succeeded' then
    redis.call('HSET', RUN, 'verdict', verdict, 'error', failure)
  end
end

-- A step, an item or a container has failed for good.
fail = function(id, rec, failure)
  local graph, base, at = node(id), split(id)
  rec.error = cjson.decode(failure)
  if graph.fallback and rec.worker and not rec.fell_back and live(graph) then
    local first = rec.agent or graph.agent
    rec.fell_back, rec.failures, rec.losses = true, nil, nil
    rec.hands = rec.hands or {first}
    rec.hands[#rec.hands + 1] = graph.fallback[1]
    close_attempt(id, rec)
    assign(rec, graph.fallback[1], graph.fallback[2], redis.call('HGET', PLAN, 'f:' .. base))
    emit('step.fell_back', id, tries(rec), failure)
    return offer(id, rec, graph)
  end
  close(id, rec, 'failed')
  local item = is_item(id, graph)
  if not (item and graph.body) then emit('step.failed', id, tries(rec), failure) end
  if graph.phase == 'compensate' then
    if run.phase == 'compensate' and not undo_next() then next_phase(redis.call('HGET', RUN, 'verdict')) end
  elseif item then
    finish_item(id, 'failed', rec.error)
  elseif graph.on_error == 'continue' or (graph.race and record(graph.race .. at)) then   -- or the race is over
    if live(graph) then settle(id, 'failed') end
  elseif graph.scope then
    local container = graph.scope .. at
    local around = record(container)
    if around and alive(around) then
      cancel_body(node(graph.scope), at)
      return fail(container, around, failure)
    end
  elseif live(graph) then
    stop('failed', failure)
  end
  conclude()
end

local function succeed(id, rec, graph)
  rec.error = nil
  local item = is_item(id, graph)
  if graph.compensate and (item or graph.kind ~= 'foreach') then rec.undo = redis.call('HINCRBY', RUN, 'done', 1) end
  close(id, rec, 'succeeded')
  if not graph.internal then emit('step.succeeded', id, tries(rec)) end
  if graph.phase == 'compensate' then
    if run.phase == 'compensate' and not undo_next() then next_phase(redis.call('HGET', RUN, 'verdict')) end
  elseif item then finish_item(id, 'succeeded')
  elseif live(graph) then settle(id, 'succeeded') end
  conclude()
end

