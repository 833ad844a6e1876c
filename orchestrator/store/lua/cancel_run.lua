-- Purpose: stop a run now. What has not started never will; what runs is void: its answer will not count.
--          pending|running -> cancelled, or failed when its time is up
-- KEYS: as _lib. ARGV: 2 state, 3 error (JSON or '').
-- Returns: 1 stopped; 0 it was over; -1 no such run.
-- Cost: O(steps).
local state = redis.call('HGET', RUN, 'state')
if not state then return -1 end
if state == 'succeeded' or state == 'failed' or state == 'cancelled' then return 0 end
end_run(ARGV[2], nil, ARGV[3] ~= '' and ARGV[3] or nil)
return 1
