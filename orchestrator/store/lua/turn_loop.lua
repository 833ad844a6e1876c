-- Purpose: start the next round of a loop, or its first one. pending -> running; running -> running | waiting (delay)
-- KEYS: as _lib. ARGV: 2 step id, 3 turn (0 or less), 4 ms before the round.
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it was decided already.
-- Cost: O(steps inside).
local id = ARGV[2]
local rec = record(id)
local graph, _, at = node(id), split(id)
if not current(rec, tonumber(ARGV[3])) or not live(graph) then return {0} end
started()
drop_timer('decide', RUN_ID, id, '0')
if rec.state == 'pending' then
  rec.round, rec.started_at = 0, NOW
  emit('step.started', id)
else
  cancel_body(graph, at)   -- what was left to finish, of a race, does not go on into the next round
  for _, name in ipairs(graph.previous) do
    redis.call('HSET', STEPS, '#p' .. name .. at, redis.call('HGET', STEPS, name .. at) or '')
    redis.call('HSET', OUTPUTS, 'p:' .. name .. at, redis.call('HGET', OUTPUTS, name .. at) or 'null')
  end
  for _, name in ipairs(graph.body) do wipe(name .. at) end
  rec.round = rec.round + 1
end
rec.turn = (rec.turn or 0) + 1
rec.state, rec.at_end = 'running', nil
if tonumber(ARGV[4]) > 0 then
  rec.state, rec.retry_at = 'waiting', NOW + ARGV[4]
  timer(rec.retry_at, 'retry', RUN_ID, id, '0')
end
save(id, rec)
if rec.state == 'running' then
  emit('step.round', id, nil, tostring(rec.round))
  begin_all(graph.entry, at)
end
return advance()
