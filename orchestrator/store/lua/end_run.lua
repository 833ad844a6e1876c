-- Purpose: close a run whose steps are all done, with its outputs, or as failed when those cannot be computed.
--          running -> succeeded | failed
-- KEYS: as _lib. ARGV: 2 state, 3 outputs (JSON or ''), 4 error (JSON or '').
-- Returns: 1 closed; 0 it was over, or is not ready to be.
-- Cost: O(1).
local run = redis.call('HMGET', RUN, 'state', 'open', 'closing')
if (run[1] ~= 'running' and run[1] ~= 'pending') or run[3] or tonumber(run[2]) > 0 then return 0 end
started()
end_run(ARGV[2], ARGV[3] ~= '' and ARGV[3] or nil, ARGV[4] ~= '' and ARGV[4] or nil)
return 1
