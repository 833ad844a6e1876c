-- Purpose: a step that sleeps is due: a retry, a limit, the round of a loop, a wait.
--          waiting -> pending | running | succeeded | failed
-- KEYS: as _lib. ARGV: 2 step id, 3 attempt that the timer names, 4 error (JSON) of a wait whose signal did not come.
-- Returns: {1, priority, ready, decide, elsewhere}; {0} nothing to do.
-- Cost: O(1); O(successors) for a wait.
local id = ARGV[2]
local rec = record(id)
if not rec or rec.state ~= 'waiting' or not rec.retry_at then
  drop_timer('retry', RUN_ID, id, ARGV[3])
  return {0}
end
local graph, _, at = node(id), split(id)
if (rec.retry_at > NOW and not rec.limited) or not live(graph) then return {0} end
drop_timer('retry', RUN_ID, id, rec.attempt or 0)
rec.retry_at = nil
if graph.kind == 'wait' then
  rec.reason = nil
  if rec.signal and graph.on_timeout ~= 'continue' then
    fail(id, rec, ARGV[4])
  else
    redis.call('HSET', OUTPUTS, id, 'null')
    succeed(id, rec, graph)
  end
elseif graph.kind == 'loop' then
  rec.state = 'running'
  save(id, rec)
  emit('step.round', id, nil, tostring(rec.round))
  begin_all(graph.entry, at)
elseif graph.kind == 'workflow' then
  rec.state, rec.ready_at, rec.turn = 'pending', NOW, (rec.turn or 0) + 1
  save(id, rec)
  ask(id, rec)
else
  offer(id, rec, graph)
end
return advance()
