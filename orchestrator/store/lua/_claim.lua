-- Purpose: give a step to one process under a lease.
-- by: {worker, lease ms, pid: the process that runs it (0: not told), the newest schema that it understands}.
-- Cost: O(inputs and steps that the step's expressions name).
local function by_arguments(at)
  by = {worker = ARGV[at], lease_ms = ARGV[at + 1], pid = ARGV[at + 2], schema = tonumber(ARGV[at + 3])}
  by.holds = PREFIX .. 'holds:' .. by.worker
end

-- What the process gets: {run, step, root, step before it, attempt, attempts of earlier rounds, failures, body, agent,
-- task, context, what `scope_of` returns}.
local function claimed(id, rec, graph)
  return {RUN_ID, id, run.root or '', parent or '', rec.attempt, rec.before or 0, rec.failures or 0, redis.call('HGET', PLAN, 'b:' .. split(id)),
    rec.agent or '', rec.task or '', rec.context or '', scope_of(id, graph)}
end

-- What the process holds already: the answer to an earlier call, which it did not get.
local function held()
  local run_id, id = string.match(redis.call('HGET', by.holds, by.pid) or '', '^(%S+) (%S+)$')
  if not id then return nil end
  enter(run_id)
  local rec = PLAN and record(id)
  if rec and rec.state == 'running' and rec.worker == by.worker and rec.pid == by.pid then
    return claimed(id, rec, node(id))
  end
end

local SKEW_MS = 5000   -- how often work of a newer schema is offered while old workers may take it

-- Under `rate` a step gets the next free moment, under `max` a place, or its turn to wait for one.
-- Returns when to try again, or nil: now.
local function wait_for(id, rec, graph, limit)
  local key = PREFIX .. 'limit:' .. limit.key
  if limit.max then
    rec.limited = rec.limited or {}
    local member = rec.limited[limit.key] or (RUN_ID .. ' ' .. id .. ' ' .. (rec.attempt or 0))
    if redis.call('SISMEMBER', key, member) == 1 then return nil end
    rec.limited[limit.key] = member
    if redis.call('SCARD', key) < limit.max then
      redis.call('SADD', key, member)
      return nil
    end
    local rank = string.format('%d%013d', RANKS[graph.priority or run.priority], NOW)
    redis.call('ZADD', key .. ':wait', 'NX', rank, member)
    return NOW + LIMIT_POLL_MS
  end
  rec.reserved = rec.reserved or {}
  local member = RUN_ID .. ' ' .. id .. ' ' .. (rec.attempt or 0)
  local due, nth = rec.reserved[limit.key], {}
  redis.call('ZREM', key, member)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', NOW - limit.per_ms)
  if not due then   -- behind all that have a moment
    due, nth = NOW, redis.call('ZRANGE', key, -limit.rate, -limit.rate, 'WITHSCORES')
  elseif due <= NOW then   -- behind those that have started, which may have been later than they were to
    local started = redis.call('ZCOUNT', key, '-inf', NOW)
    if started >= limit.rate then
      nth = redis.call('ZRANGE', key, started - limit.rate, started - limit.rate, 'WITHSCORES')
    end
  end
  if nth[2] then due = math.max(due, tonumber(nth[2]) + limit.per_ms) end
  rec.reserved[limit.key] = due
  redis.call('ZADD', key, math.max(due, NOW), member)
  redis.call('PEXPIRE', key, math.max(due - NOW, 0) + limit.per_ms)
  if due > NOW then return due end
end

-- In one order everywhere: two steps that each have a place the other one waits for would wait for ever.
local function rates_first(a, b)
  if (a.max == nil) ~= (b.max == nil) then return a.max == nil end
  return a.key < b.key
end

-- pending -> running | waiting (a limit is reached). Returns what `claimed` does, or nil: not to be had (done, taken, not
-- due, limited, run over, of a newer schema).
-- rec: of a step that was never sent nor saved; default: what the store has.
local function claim(id, rec)
  local unsent = rec ~= nil
  rec = rec or record(id)
  if not rec or rec.state ~= 'pending' or not rec.queue or run.state == 'paused' then return nil end
  local graph = node(id)
  if not live(graph) then return nil end
  if unsent and redis.call('HEXISTS', STEPS, id) == 1 then return nil end   -- it was cancelled meanwhile: a race is over
  local due
  local newer = run.schema > by.schema
  if newer then due, rec.reason = NOW + SKEW_MS, 'waits for a worker of a newer version' end
  local limits = not newer and (rec.limits or graph.limits)
  if limits then
    table.sort(limits, rates_first)
    for _, limit in ipairs(limits) do
      local again = wait_for(id, rec, graph, limit)
      if again and (not due or again > due) then
        due = again
        rec.reason = 'waits for the limit ' .. limit.key
      end
      if again and limit.max then break end
    end
  end
  if not unsent then
    withdraw(id, rec)
    -- How far the queue has been worked off. A step sent again says nothing of that: either of its messages may be this.
    local mark = 'mark ' .. rec.queue
    if not rec.resent and redis.call('HGET', QUEUES, mark) < rec.seq then redis.call('HSET', QUEUES, mark, rec.seq) end
    rec.resent = nil
  end
  if due then
    rec.state, rec.retry_at, rec.seq, rec.queue = 'waiting', due, nil, nil
    save(id, rec)
    timer(due, 'retry', RUN_ID, id, rec.attempt or 0)
    emit(newer and 'step.parked' or 'step.limited', id, nil, rec.reason)
    return nil
  end
  started()
  count(QUEUES, 'running ' .. string.match(rec.queue, '^%S+'), 1)
  count(RUN, 'active', 1)
  rec.attempt = (rec.attempt or 0) + 1
  rec.state, rec.worker, rec.pid, rec.seq, rec.reason = 'running', by.worker, by.pid, nil, nil
  if rec.before then redis.call('HDEL', STEPS, void_mark(id, by.worker, rec.pid)) end   -- that attempt has ended
  rec.started_at = rec.started_at or NOW
  rec.lease_until = NOW + by.lease_ms
  save(id, rec)
  if by.pid ~= '0' then
    hold(by.holds, by.pid, RUN_ID .. ' ' .. id, by.lease_ms)
    if let_go and let_go[1] == by.holds and let_go[2] == by.pid then let_go = nil end
  end
  timer(rec.lease_until, 'lease', RUN_ID, id, rec.attempt)
  if graph.timeout_ms then timer(NOW + graph.timeout_ms, 'timeout', RUN_ID, id, rec.attempt) end
  emit('step.started', id, tries(rec), cjson.encode({worker = by.worker}), NOW - (rec.ready_at or NOW) .. ' ' .. rec.queue)
  return claimed(id, rec, graph)
end
