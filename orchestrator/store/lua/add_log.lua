-- Purpose: keep lines that the handlers of a run have logged; the oldest are dropped where there are too many.
-- KEYS: as _lib. ARGV: 2 lines of the run that are kept, then for each line: step, attempt, agent, level, logger, ms,
--       text.
-- Returns: 1 kept; 0 the server has no room.
-- Cost: O(lines).
local log = RUN .. ':log'
if no_room() then return 0 end
for i = 3, #ARGV, 7 do
  redis.call('XADD', log, 'MAXLEN', ARGV[2], '*', 's', ARGV[i], 'a', ARGV[i + 1], 'g', ARGV[i + 2],
    'l', ARGV[i + 3], 'n', ARGV[i + 4], 't', ARGV[i + 5], 'm', ARGV[i + 6])
end
local left = redis.call('PTTL', RUN)   -- an attempt may go on after the end of its run
if left > 0 then redis.call('PEXPIRE', log, left) end
return 1
