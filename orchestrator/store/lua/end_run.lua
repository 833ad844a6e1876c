-- Purpose: the steps of a run are all done, and its outputs are known, or cannot be computed.
--          running -> succeeded | failed, after what has to run before that
-- KEYS: as _lib. ARGV: 2 state, 3 outputs (JSON or ''), 4 error (JSON or '').
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it was over, or is not ready to be.
-- Cost: O(1).
local open = redis.call('HGET', RUN, 'open')
if over(run.state) or run.stopping or run.phase ~= 'main' or tonumber(open) > 0 then return {0} end
if redis.call('HGET', RUN, 'verdict') then return {0} end
started()
drop_timer('decide', RUN_ID, '$outputs', '0')
redis.call('HSET', RUN, 'verdict', ARGV[2])
if ARGV[3] ~= '' then redis.call('HSET', RUN, 'outputs', ARGV[3]) end
if ARGV[4] ~= '' then redis.call('HSET', RUN, 'error', ARGV[4]) end
next_phase(ARGV[2])
return advance()
