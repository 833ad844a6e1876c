-- Purpose: the run ends at this step: whatever else of it runs or waits is void. pending -> succeeded
-- KEYS: as _lib. ARGV: 2 step id, 3 turn (0 or less), 4 error (JSON) of a run that fails here; '': it succeeds.
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it was decided already.
-- Cost: O(steps).
local id = ARGV[2]
local rec = record(id)
local graph = node(id)
if not current(rec, tonumber(ARGV[3])) or not live(graph) then return {0} end
started()
drop_timer('decide', RUN_ID, id, '0')
close(id, rec, 'succeeded')
emit('step.succeeded', id)
cancel_leftovers()
if ARGV[4] ~= '' then
  stop('failed', ARGV[4])
else
  redis.call('HSET', RUN, 'open', 0)
end
conclude()
return advance()
