-- Purpose: stop a run now. What has not started never will; what runs is void: its answer will not count. What is done
--          is undone and `finally` runs, unless at once. pending|running|paused -> cancelled, or failed (time is up)
-- KEYS: as _lib. ARGV: 2 state, 3 error (JSON or ''), 4 1: end it at once.
-- Returns: {1, priority, ready, decide, elsewhere} stopped; {0} it was over or being stopped; {-1} no such run.
-- Cost: O(steps).
drop_timer('decide', RUN_ID, '$cancel', '0')
drop_timer('decide', RUN_ID, '$stop', '0')
if ARGV[4] == '1' then cancel_child = '$stop' end
if not run.state then return {-1} end
if over(run.state) then return {0} end
if ARGV[4] ~= '1' and (run.phase ~= 'main' or redis.call('HGET', RUN, 'verdict') == 'cancelled') then return {0} end
if run.state == 'paused' then
  run.state = 'running'
  redis.call('HSET', RUN, 'state', 'running')
end
local failure = ARGV[3] ~= '' and ARGV[3] or nil
if run.phase == 'main' then
  local begun = run.state ~= 'pending'
  redis.call('HSET', RUN, 'verdict', ARGV[2])
  if failure then redis.call('HSET', RUN, 'error', failure) else redis.call('HDEL', RUN, 'error') end
  if ARGV[4] == '1' or not begun then end_run(ARGV[2]) else next_phase(ARGV[2]) end
else
  cancel_leftovers()
  end_run(redis.call('HGET', RUN, 'verdict'))
end
return advance()
