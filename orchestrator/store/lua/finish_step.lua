-- Purpose: record a step's output and find what it makes ready. running | waiting (or, decided, pending) -> succeeded.
--          The process may go on with the next step: of the same run if that is for the same queue, or of that queue.
-- KEYS: as _lib. ARGV: 2 step id, 3 attempt (0 or less: a decision), 4 output (JSON; '' for none), 5 worker ('': the
--       process takes nothing more), 6 lease ms, 7 process, 8 the newest schema that it understands, 9 1: asked again,
--       because no answer came, 10 agents (JSON).
-- Returns: {1, priority, ready, decide, elsewhere, what was sent, what `claimed` returns or nil}; {0} the attempt does not
--          count any more, and its answer is kept as superseded. An answer that is told again, because nobody heard that
--          it was taken, makes nothing ready: the keeper sends what was.
-- Cost: O(successors); for a foreach O(items).
local id, attempt = ARGV[2], tonumber(ARGV[3])
local rec = record(id)
local goes_on = ARGV[5] ~= ''
if goes_on then by_arguments(5) end
if not current(rec, attempt) then
  local told = superseded(id, rec, attempt, ARGV[4])
  if told[1] == 1 and goes_on and ARGV[9] == '1' then told[7] = held() end
  return told
end
local graph = node(id)
started()
if attempt <= 0 then
  drop_timer('decide', RUN_ID, id, '0')
  if rec.enough and graph.rest and rec.done < rec.n then
    rec.loose = true   -- the other items go on, and the run with them
    if not graph.scope then count(RUN, 'open', 1) end
  else
    forget_items(id, rec, graph)
  end
elseif rec.cache then
  redis.call('SET', rec.cache, ARGV[4], 'PX', graph.cache_ms)
end
if ARGV[4] ~= '' then redis.call('HSET', OUTPUTS, id, ARGV[4]) end
cause = id
if goes_on and not overtaken(rec.queue) then onward = {queue = rec.queue} end
succeed(id, rec, graph)
local posted, priority, next = ARGV[11] and send_along() or {}, run.priority, nil
pose_first()   -- before another run is entered
if goes_on then
  parent = id
  next = onward and onward.id and claim(onward.id, onward.rec) or take(cjson.decode(ARGV[10]))
end
local result = advance()
result[2], result[6], result[7] = priority, posted, next
return result
