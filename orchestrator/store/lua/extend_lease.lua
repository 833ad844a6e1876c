-- Purpose: a heartbeat. running stays running
-- KEYS: as _lib. ARGV: 2 step id, 3 worker, 4 attempt (0: whichever this worker runs), 5 lease ms,
--       6 process of the worker that runs it (0: not known).
-- Returns: 1 extended; 0 this worker does not hold the step; -1 it held it when it became void.
-- Cost: O(1).
local id, attempt = ARGV[2], tonumber(ARGV[4])
local rec = record(id)
if rec and rec.state == 'cancelled' and rec.stopped == ARGV[3] then return -1 end
if ARGV[6] ~= '0' and redis.call('HEXISTS', STEPS, void_mark(id, ARGV[3], ARGV[6])) == 1 then return -1 end
if not rec or rec.state ~= 'running' or rec.worker ~= ARGV[3] then return 0 end
if attempt > 0 and rec.attempt ~= attempt then return 0 end
if ARGV[6] ~= '0' and rec.pid ~= ARGV[6] then return 0 end
rec.lease_until = NOW + ARGV[5]
save(id, rec)
timer(rec.lease_until, 'lease', RUN_ID, id, rec.attempt)
return 1
