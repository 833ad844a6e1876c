-- Purpose: what the transitions of a run share. Put before each script that changes a run.
-- KEYS: 1 run hash, 2 steps hash, 3 outputs hash, 4 events stream, 5 plan hash, 6 timers zset, 7 ready zset,
--       8 queues hash, 9 wake list, 10 ended stream, 11 journal stream. ARGV[1]: run id. Time is the server's.
-- Cost: O(successors of what became terminal).
--
-- An id is the plan's, then one `[n]` for each foreach around it: `edit[3]` is the step `edit` for item 3, `each[3]`
-- that item of `each`. `edit~7` is a round of a loop that is over and may have to be compensated.
local RUN, STEPS, OUTPUTS, EVENTS, PLAN = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local TIMERS, READY, QUEUES, WAKE, ENDED, JOURNAL = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local RUN_ID = ARGV[1]
local PREFIX = string.sub(TIMERS, 1, -7)   -- of every key; see keys.py: which run or limit is meant, scripts find out
local RESCUE_MS = 5000   -- a decision not taken by then is taken by the keeper
local SOON_MS = 1000     -- the keeper looks at least this often by itself
-- Entries the journal keeps, the default of the setting `journal_events`: no script of a run gets the settings.
-- Where the setting is smaller, the next message trims to it.
local JOURNAL_EVENTS = 100000
local LIMIT_POLL_MS = 60000   -- a step that waits for a limit is called when a place is free; this is for the rest
local RANKS = {emergency = 0, urgent = 1, high = 2, medium = 3, low = 4}

local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)
local SEQ = clock[1] .. string.format('%06d', clock[2])
local ready, decide, elsewhere = {}, {}, {}
local cancel_child = '$cancel'   -- what a run that is cancelled asks of its children
-- Stores what a handler sends, in the variant of finish_step that has messages to store; see _send_along.lua.
local send_along = function() end
local arrive, settle, fail, start_item, stop_items, stop_rest   -- defined below: steps, rounds and items end in each other

local now = redis.call('HMGET', RUN, 'state', 'phase', 'stopping', 'priority', 'reuse')
local run = {state = now[1], phase = now[2] or 'main', stopping = now[3], priority = now[4], reuse = now[5]}

local function split(id) return string.match(id, '^([^%[~]+)(.*)$') end

-- The first `depth` indices of a suffix.
local function upto(at, depth)
  local taken = ''
  for index in string.gmatch(at, '%[%d+%]') do
    if depth <= 0 then break end
    taken, depth = taken .. index, depth - 1
  end
  return taken
end

local function outer(at) return string.match(at, '^(.*)%[%d+%]') end

local function record(id)
  local text = redis.call('HGET', STEPS, id)
  return text and cjson.decode(text)
end

local function save(id, rec) redis.call('HSET', STEPS, id, cjson.encode(rec)) end

local function node(id) return cjson.decode(redis.call('HGET', PLAN, 'g:' .. split(id))) end

-- Whether the id is one item of a foreach whose graph this is.
local function is_item(id, graph)
  if graph.kind ~= 'foreach' then return false end
  local _, count = string.gsub(id, '%[', '')
  return count > (graph.depth or 0)
end

local function over(state) return state == 'succeeded' or state == 'failed' or state == 'cancelled' end

-- Whether steps of this node's part of the workflow may start now.
local function live(graph)
  return not over(run.state) and not run.stopping and (graph.phase or 'main') == run.phase
end

-- The attempts of this round; `rec.attempt` goes on from round to round, so that no answer of an older one counts.
local function tries(rec) return rec.attempt and rec.attempt - (rec.before or 0) end

-- The journal gets the name and the ids, no data. Not the progress: it would push everything else out.
local function journal(name, step, attempt)
  if name == 'step.progress' then return end
  local ids = {'r', RUN_ID}
  if step then ids[3], ids[4] = 's', step end
  if step and attempt then ids[5], ids[6] = 'a', attempt end
  redis.call('XADD', JOURNAL, 'MAXLEN', '~', JOURNAL_EVENTS, '*', 'e', name, unpack(ids))
end

local function emit(name, step, attempt, data)
  if step then step = string.gsub(step, '%.item%[', '[') end   -- the only step of an item stands for it
  redis.call('XADD', EVENTS, '*', 'e', name, 's', step or '', 'a', attempt or '', 'd', data or '')
  journal(name, step, attempt)
end

local function wake_keeper()
  redis.call('LPUSH', WAKE, '1')
  redis.call('LTRIM', WAKE, 0, 0)
end

local function timer(due, ...)
  redis.call('ZADD', TIMERS, due, table.concat({...}, ' '))
  if due - NOW < SOON_MS then wake_keeper() end
end

local function drop_timer(...) return redis.call('ZREM', TIMERS, table.concat({...}, ' ')) end

-- Something of another run is to be decided: by whoever caused this, or by the keeper.
local function call_on(run_id, what)
  timer(NOW + RESCUE_MS, 'decide', run_id, what, '0')
  elsewhere[#elsewhere + 1] = run_id
  elsewhere[#elsewhere + 1] = what
end

-- A step may go to its agent now: note it for the keeper and for the caller.
local function offer(id, rec, graph)
  rec.state, rec.ready_at = 'pending', NOW
  if run.state == 'paused' then
    rec.held, rec.seq, rec.queue = 'offer', nil, nil
    return save(id, rec)
  end
  if not rec.queue then
    rec.queue = (rec.agent or graph.agent) .. ' ' .. (graph.priority or run.priority)
    redis.call('HSETNX', QUEUES, 'mark ' .. rec.queue, '0')
  end
  rec.seq = SEQ
  redis.call('ZADD', READY, 0, rec.queue .. ' ' .. SEQ .. ' ' .. RUN_ID .. ' ' .. id)
  ready[#ready + 1] = id
  ready[#ready + 1] = rec.segment or redis.call('HGET', PLAN, 's:' .. split(id))
  save(id, rec)
end

-- Another agent than the plan's runs the step from now on. segment: the canvas (JSON) of the step on that agent.
local function assign(rec, agent, task, segment)
  rec.agent, rec.task, rec.segment, rec.queue = agent, task, segment, nil
end

-- Somebody must evaluate an expression before the run can go on here.
local function ask(id, rec)
  if rec and run.state == 'paused' then
    rec.held = 'ask'
    return save(id, rec)
  end
  timer(NOW + RESCUE_MS, 'decide', RUN_ID, id, '0')
  decide[#decide + 1] = id
end

local function withdraw(id, rec)
  if rec.seq then redis.call('ZREM', READY, rec.queue .. ' ' .. rec.seq .. ' ' .. RUN_ID .. ' ' .. id) end
end

-- Give a place under a `max` limit to the step that waits longest for it.
local function free_place(limit)
  local key = PREFIX .. 'limit:' .. limit
  local next = redis.call('ZPOPMIN', key .. ':wait')
  if next[1] then
    redis.call('SADD', key, next[1])
    redis.call('ZADD', TIMERS, NOW, 'retry ' .. next[1])
    wake_keeper()
  end
end

local function release(id, rec)
  if not rec.limited then return end
  for limit, member in pairs(rec.limited) do
    redis.call('ZREM', PREFIX .. 'limit:' .. limit .. ':wait', member)
    if redis.call('SREM', PREFIX .. 'limit:' .. limit, member) == 1 then free_place(limit) end
  end
  rec.limited = nil
end

-- The end of an attempt, however it ended.
local function close_attempt(id, rec)
  release(id, rec)
  rec.reserved = nil
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
  rec.state, rec.finished_at = state, NOW
  rec.seq, rec.queue, rec.retry_at, rec.held, rec.at_end = nil, nil, nil, nil, nil
  save(id, rec)
end

local function started()
  if run.state == 'pending' then
    run.state = 'running'
    redis.call('HSET', RUN, 'state', 'running', 'started_at', NOW)
    emit('run.started')
  end
end

-- Why a step whose needs are all done does not run, or nil.
local function refusal(id, at, graph)
  if graph.gate then
    local gate = record(graph.gate .. at)
    local name = string.match(graph.gate, '^[^.]+')
    if graph.kind == 'branch' and gate.state ~= 'skipped' then
      if gate.branch ~= graph.branch then return 'another branch of ' .. name .. ' was taken' end
    elseif gate and gate.state == 'skipped' then
      local reason = gate.reason or ''
      return string.sub(reason, 1, 7) == 'another' and reason or 'its container ' .. name .. ' was skipped'
    end
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

-- A loop was skipped, so what is inside was, too. Inside a foreach there is nothing that could be.
local function skip_inside(graph, at, reason)
  if graph.kind ~= 'loop' then return end
  for _, name in ipairs(graph.body) do
    if not string.find(name, '.', 1, true) then
      save(name .. at, {state = 'skipped', finished_at = NOW, reason = reason})
    end
  end
end

-- A step may start: at its agent, or once somebody has decided what it needs.
local function begin(id, rec, graph)
  if graph.dispatched then return offer(id, rec, graph) end
  rec.state, rec.ready_at = 'pending', NOW
  save(id, rec)
  ask(id, rec)
end

-- A step starts anew in a round of a loop: its attempts, and the decisions about it, are counted on.
local function fresh(id)
  local rounds = redis.call('HGET', STEPS, '#a' .. id)
  if not rounds then return {} end
  local attempt, turn = string.match(rounds, '^(%d+) (%d+)$')
  return {attempt = tonumber(attempt), before = tonumber(attempt), turn = tonumber(turn)}
end

-- The items of a foreach are of no use any more: their outputs stand in its own, and nothing inside is to be undone.
local function forget_items(whole, rec, graph)
  for i = 0, (graph.keeps and 0 or rec.n or 0) - 1 do
    redis.call('HDEL', OUTPUTS, whole .. '[' .. i .. ']', 'i:' .. whole .. '[' .. i .. ']')
  end
end

-- An item of a foreach is terminal: start the next one, or ask for the whole to be collected.
local function finish_item(id, state, failure)
  local base, at = split(id)
  local whole = base .. outer(at)
  local rec, graph = record(whole), node(base)
  if rec.enough and not graph.rest then return end
  rec.done = rec.done + 1
  if state == 'succeeded' then rec.good = (rec.good or 0) + 1 end
  local enough = graph.enough and not rec.enough and (rec.good or 0) >= graph.enough and live(graph)
  if enough then
    rec.enough = true
    if not graph.rest then
      stop_items(whole, rec, graph, nil, true)
      save(whole, rec)
      return ask(whole, rec)
    end
  elseif rec.enough then
    state = 'finished'   -- what becomes of it changes nothing any more
  end
  if state == 'failed' and graph.on_item_error == 'fail' and not rec.failure then
    stop_items(whole, rec, graph, failure)
  end
  save(whole, rec)
  while rec.cursor < rec.n and not rec.failure and live(graph) do
    rec.cursor = rec.cursor + 1
    if start_item(whole, rec, graph, rec.cursor - 1) then break end
  end
  if rec.loose and rec.done == rec.n then
    forget_items(whole, rec, graph)
    if not graph.scope then redis.call('HINCRBY', RUN, 'open', -1) end
  elseif enough or (not rec.enough and rec.done == rec.cursor and live(graph)) then
    ask(whole, rec)
  end
end

-- All needs of a step are done. Returns the state of the step if that ends it at once.
arrive = function(id, graph)
  local _, at = split(id)
  local kept = run.reuse and record(id)
  if kept and kept.reused then return kept.state end
  local reason = refusal(id, at, graph)
  if reason then
    save(id, {state = 'skipped', finished_at = NOW, reason = reason})
    if not graph.internal then emit('step.skipped', id, nil, reason) end
    skip_inside(graph, at, reason)
    return 'skipped'
  elseif graph.enough and graph.kind == 'join' then
    local good = tonumber(redis.call('HGET', STEPS, '#' .. id .. '!g') or 0)
    if good < graph.enough then
      local step = string.match(id, '^(.-)%.end')
      local text = good .. ' of its branches succeeded, and ' .. graph.enough .. ' have to'
      save(id, {state = 'pending'})
      fail(id, record(id), cjson.encode({type = 'NotEnough', message = text, step = step}))
      return nil
    end
    save(id, {state = 'succeeded', finished_at = NOW})
    if not graph.rest then stop_rest(graph, at) end
    return 'succeeded'
  elseif graph.kind == 'join' then
    local state = join_state(id, graph)
    save(id, {state = state, finished_at = NOW})
    return state
  elseif graph.kind == 'branch' then
    save(id, {state = 'succeeded', finished_at = NOW})
    return 'succeeded'
  elseif graph.kind == 'end' then
    return 'end'
  end
  begin(id, fresh(id), graph)
end

-- The last step of a round or of an item is done.
local function reach_end(id, graph)
  local _, at = split(id)
  local whole = graph.scope .. at
  local rec, container = record(whole), node(graph.scope)
  if not rec or rec.state ~= 'running' then return end
  if container.kind == 'loop' then
    rec.at_end = true
    save(whole, rec)
    ask(whole, rec)
  else
    if container.last then
      local output = redis.call('HGET', OUTPUTS, container.last .. at)
      redis.call('HSET', OUTPUTS, whole, output or 'null')
    end
    close(whole, rec, 'succeeded')
    finish_item(whole, 'succeeded')
  end
end

-- A step is terminal: walk on to whatever that completes.
settle = function(first, state)
  local work = {{first, state}}
  while #work > 0 do
    local id, done = unpack(table.remove(work))
    local graph, _, at = node(id), split(id)
    if done == 'end' then
      reach_end(id, graph)
    else
      if not graph.scope then redis.call('HINCRBY', RUN, 'open', -1) end
      for _, follower in ipairs(graph.next) do
        local name = follower .. at
        if done ~= 'succeeded' then
          redis.call('HINCRBY', STEPS, '#' .. name .. (done == 'failed' and '!f' or '!s'), 1)
        end
        local next = node(follower)
        local here = redis.call('HINCRBY', STEPS, '#' .. name, 1) == next.needs
        if next.enough and next.kind == 'join' and done == 'succeeded' then
          here = redis.call('HINCRBY', STEPS, '#' .. name .. '!g', 1) >= next.enough or here
        end
        if here and (next.enough or next.raced) and record(name) then here = false end   -- it is over already
        if here then
          local ended = arrive(name, next)
          if ended then work[#work + 1] = {name, ended} end
        end
      end
    end
  end
end

-- The body of a container starts: the next round, or one item.
local function begin_body(graph, at)
  for _, name in ipairs(graph.entry) do
    local ended = arrive(name .. at, node(name))
    if ended then settle(name .. at, ended) end
  end
end

-- Start an item; false if it is one that an earlier run has finished. rec: the record of the whole, saved here.
start_item = function(whole, rec, graph, index)
  local id = whole .. '[' .. index .. ']'
  local kept = run.reuse and record(id)
  if kept and kept.reused then
    rec.done = rec.done + 1
    save(whole, rec)
    return false
  end
  save(whole, rec)
  if graph.body then
    local _, at = split(id)
    save(id, {state = 'running', started_at = NOW})
    begin_body(graph, at)
  else
    offer(id, fresh(id), graph)
  end
  return true
end

local function alive(rec) return rec.state == 'pending' or rec.state == 'running' or rec.state == 'waiting' end

local function cancel(id, rec)
  rec.stopped = rec.worker   -- tells the worker's next heartbeat to interrupt the handler
  withdraw(id, rec)
  drop_timer('decide', RUN_ID, id, '0')
  drop_timer('retry', RUN_ID, id, rec.attempt or 0)
  if rec.child then call_on(rec.child, cancel_child) end
  close(id, rec, 'cancelled')
  if not string.find(id, '.', 1, true) or string.find(id, '.compensate', 1, true) then
    emit('step.cancelled', id, tries(rec))
  end
end

-- Everything alive inside one round or item is void.
local function cancel_body(graph, at)
  for _, name in ipairs(graph.body or {}) do
    local id = name .. at
    local rec = record(id)
    if rec then
      for i = 0, (rec.cursor or 0) - 1 do
        local item = record(id .. '[' .. i .. ']')
        if item and alive(item) then
          cancel(id .. '[' .. i .. ']', item)
          cancel_body(node(name), at .. '[' .. i .. ']')
        end
      end
      if alive(rec) then cancel(id, rec) end
    end
  end
end

-- Enough branches have succeeded: nothing more of the others starts, and what runs there is void. For steps outside that
-- need one of those it counts as skipped.
stop_rest = function(graph, at)
  local inside, void = {}, {}
  for _, name in ipairs(graph.body) do inside[name] = true end
  for _, name in ipairs(graph.body) do
    local id, about = name .. at, node(name)
    local rec = record(id)
    if not rec or alive(rec) then
      cancel_body(about, at)
      if rec then
        for i = 0, (rec.cursor or 0) - 1 do
          local item = record(id .. '[' .. i .. ']')
          if item and alive(item) then
            cancel(id .. '[' .. i .. ']', item)
            cancel_body(about, at .. '[' .. i .. ']')
          end
        end
        cancel(id, rec)
      else
        save(id, {state = 'cancelled', finished_at = NOW})
      end
      if not about.scope then redis.call('HINCRBY', RUN, 'open', -1) end
      void[#void + 1] = about
    end
  end
  for _, about in ipairs(void) do
    for _, follower in ipairs(about.next) do
      local name = follower .. at
      if not inside[follower] and not record(name) then
        redis.call('HINCRBY', STEPS, '#' .. name .. '!s', 1)
        local next = node(follower)
        if redis.call('HINCRBY', STEPS, '#' .. name, 1) == next.needs then
          local ended = arrive(name, next)
          if ended then settle(name, ended) end
        end
      end
    end
  end
end

-- One item failed and that fails the foreach, or enough have succeeded: items that have not started never will.
-- running: those that have are void, too.
stop_items = function(whole, rec, graph, failure, running)
  rec.failure = failure
  local _, at = split(whole)
  for i = 0, rec.cursor - 1 do
    local id = whole .. '[' .. i .. ']'
    local item = record(id)
    local begun = item and item.state == 'running'
    if item and (item.state == 'pending' or item.state == 'waiting' or begun and (running or failure and graph.body)) then
      cancel(id, item)
      cancel_body(graph, at .. '[' .. i .. ']')
      rec.done = rec.done + 1
    end
  end
end

local function cancel_leftovers()
  local all = redis.call('HGETALL', STEPS)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 1) ~= '#' then
      local rec = cjson.decode(all[i + 1])
      if alive(rec) then cancel(all[i], rec) end
    end
  end
end

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
  redis.call('HDEL', RUN, 'stopping', 'phase')
  drop_timer('decide', RUN_ID, '$outputs', '0')
  leave_slot()
  local unused = redis.call('HGET', RUN, 'signals')
  if unused and unused ~= '{}' then emit('run.unused_signals', nil, nil, unused) end
  emit('run.' .. state, nil, nil, redis.call('HGET', RUN, 'error') or nil)
  redis.call('XADD', ENDED, 'MAXLEN', '~', 1000, '*', 'run', RUN_ID)
  local about = redis.call('HMGET', RUN, 'retention_ms', 'retention_' .. state, 'parent', 'parent_step')
  local retention = about[2] or about[1]
  for _, key in ipairs({RUN, STEPS, OUTPUTS, EVENTS}) do redis.call('PEXPIRE', key, retention) end
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
  for _, id in ipairs(cjson.decode(entry)) do
    local ended = arrive(id, node(id))
    if ended then settle(id, ended) end
  end
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
  local left = redis.call('HMGET', RUN, 'open', 'active', 'verdict')
  if run.stopping then
    if tonumber(left[2]) == 0 then next_phase(left[3]) end
  elseif run.phase ~= 'compensate' and tonumber(left[1]) == 0 and tonumber(left[2]) == 0 then
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
  elseif graph.on_error == 'continue' then
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

-- What an attempt's expressions may read, or those of a decision: {item, {input, value, ...}, {step, record, output, ...}, workflow, run's error,
-- round, {step, record, output, ...} of the round before, phase if not the main one}.
local function scope_of(id, graph, deciding)
  local _, at = split(id)
  local inputs, steps, previous, round = {}, {}, {}, ''
  local names, others = graph.reads_inputs, graph.reads
  if deciding and graph.asks then names, others = graph.asks_inputs, graph.asks end
  for _, name in ipairs(names or cjson.decode(redis.call('HGET', RUN, 'input_names'))) do
    inputs[#inputs + 1] = name
    inputs[#inputs + 1] = redis.call('HGET', RUN, 'i:' .. name)
  end
  for _, other in ipairs(others) do
    local name = other
    if other == graph.undoes then name = graph.undone .. at
    elseif graph.deep and graph.deep[other] then name = other .. upto(at, graph.deep[other]) end
    steps[#steps + 1] = other
    steps[#steps + 1] = redis.call('HGET', STEPS, name)
    steps[#steps + 1] = redis.call('HGET', OUTPUTS, name)
  end
  if graph.loop then
    round = tostring(record(graph.loop .. upto(at, graph.loop_depth)).round or 0)
    for _, other in ipairs(graph.previous) do
      local name = other .. upto(at, graph.deep and graph.deep[other] or 0)
      previous[#previous + 1] = other
      previous[#previous + 1] = redis.call('HGET', STEPS, '#p' .. name)
      previous[#previous + 1] = redis.call('HGET', OUTPUTS, 'p:' .. name)
    end
  end
  local item = false
  local round_undone = string.match(at, '~%d+$') or ''
  if graph.each then item = redis.call('HGET', OUTPUTS, 'i:' .. graph.each .. upto(at, graph.depth) .. round_undone)
  elseif is_item(id, graph) then item = redis.call('HGET', OUTPUTS, 'i:' .. id) end
  local error = graph.phase and redis.call('HGET', RUN, 'error') or false
  return item, inputs, steps, redis.call('HGET', RUN, 'workflow'), error, round, previous, graph.phase or ''
end

local function advance() return {1, run.priority, ready, decide, elsewhere} end

-- Is this answer for the attempt that counts? From 0 downwards it is a decision: of a pending step, of a foreach whose
-- items are done, a loop whose round is, or a step whose child run is over. Each round of a loop has decisions of its
-- own.
local function current(rec, attempt)
  if not rec then return false end
  if attempt > 0 then return rec.state == 'running' and rec.worker and rec.attempt == attempt end
  if run.state == 'paused' or -attempt ~= (rec.turn or 0) then return false end
  if rec.state == 'pending' then return not rec.queue and not rec.held end
  if rec.state == 'waiting' then return rec.child ~= nil end
  return rec.state == 'running' and (rec.at_end or (rec.n ~= nil and (rec.enough or rec.done == rec.cursor)))
end
