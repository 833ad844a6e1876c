-- Purpose: how a run walks its graph: what the end of a step, an item or a round leads to.
-- Cost: O(successors of what became terminal).
local arrive, settle, fail, start_item, stop_items, stop_rest   -- steps, rounds and items end in each other

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
    if not graph.scope then count(RUN, 'open', -1) end
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
      if not graph.scope then count(RUN, 'open', -1) end
      for _, follower in ipairs(graph.next) do
        local name = follower .. at
        if done ~= 'succeeded' then
          redis.call('HINCRBY', STEPS, '#' .. name .. (done == 'failed' and '!f' or '!s'), 1)
        end
        local next = node(follower)
        local here = next.needs == 1 or redis.call('HINCRBY', STEPS, '#' .. name, 1) == next.needs
        if next.enough and next.kind == 'join' and done == 'succeeded' then
          here = redis.call('HINCRBY', STEPS, '#' .. name .. '!g', 1) >= next.enough or here
        end
        if here and (next.enough or next.race) and record(name) then here = false end   -- it is over already
        if here then
          local ended = arrive(name, next)
          if ended then work[#work + 1] = {name, ended} end
        end
      end
    end
  end
end

-- The first steps of a part start: of the run, of a round, of one item.
local function begin_all(entry, at)
  for _, name in ipairs(entry) do
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
    begin_all(graph.entry, at)
  else
    offer(id, fresh(id), graph)
  end
  return true
end

local function cancel(id, rec)
  rec.stopped = rec.worker   -- tells the worker's next heartbeat to interrupt the handler
  if rec.worker then redis.call('HSET', STEPS, void_mark(id, rec.worker, rec.pid), '1') end
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
local cancel_body
local function cancel_items(id, rec, graph, at)
  for i = 0, (rec.cursor or 0) - 1 do
    local index = '[' .. i .. ']'
    local item = record(id .. index)
    if item and alive(item) then
      cancel(id .. index, item)
      cancel_body(graph, at .. index)
    end
  end
end

cancel_body = function(graph, at)
  for _, name in ipairs(graph.body or {}) do
    local id = name .. at
    local rec = record(id)
    if rec then
      if rec.cursor then cancel_items(id, rec, node(name), at) end
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
        cancel_items(id, rec, about, at)
        cancel(id, rec)
      else
        save(id, {state = 'cancelled', finished_at = NOW})
      end
      if not about.scope then count(RUN, 'open', -1) end
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

