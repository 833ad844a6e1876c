-- Purpose: record a step's output and find what it makes ready. running | waiting (or, decided, pending) -> succeeded
-- KEYS: as _lib, and where the next step's message goes along: 12 list: its queue, 13 list: the queue's wake-ups.
-- ARGV: 2 step id, 3 attempt (0 or less: a decision), 4 output (JSON; '' for none), 5 next step id or '', 6 its
--       message, 7 lifetime of a wake-up in ms.
-- Returns: {1, priority, ready, decide, elsewhere, 1 if the message was put on the queue, what was sent}; {0} the
--          attempt does not count any more, and its answer is kept as superseded. An answer that is told again, because
--          nobody heard that it was taken, makes nothing ready: the keeper sends what was.
-- Cost: O(successors); for a foreach O(items).
local id, attempt = ARGV[2], tonumber(ARGV[3])
local rec = record(id)
if not current(rec, attempt) then return superseded(id, rec, attempt, ARGV[4]) end
local graph = node(id)
started()
if attempt <= 0 then
  drop_timer('decide', RUN_ID, id, '0')
  if rec.enough and graph.rest and rec.done < rec.n then
    rec.loose = true   -- the other items go on, and the run with them
    if not graph.scope then redis.call('HINCRBY', RUN, 'open', 1) end
  else
    forget_items(id, rec, graph)
  end
elseif rec.cache then
  redis.call('SET', rec.cache, ARGV[4], 'PX', graph.cache_ms)
end
if ARGV[4] ~= '' then redis.call('HSET', OUTPUTS, id, ARGV[4]) end
succeed(id, rec, graph)
local result = advance()
result[6], result[7] = 0, send_along()
if ARGV[5] ~= '' and ready[1] == ARGV[5] then
  -- Ready and on its queue in one step: no moment in between in which the message could be lost.
  redis.call('LPUSH', KEYS[12], ARGV[6])
  if redis.call('EXISTS', KEYS[13]) == 0 then
    redis.call('LPUSH', KEYS[13], '1')
    redis.call('PEXPIRE', KEYS[13], ARGV[7])
  end
  result[6] = 1
end
return result
