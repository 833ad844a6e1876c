-- Purpose: tell how a traced run ended, to the first who asks, who makes the span of it.
-- KEYS: as _lib. ARGV: only the run's id.
-- Returns: {trace, workflow, state, created ms, finished ms, error as JSON or ''}; nil: it is not over, has no trace, or
--          somebody has asked.
-- Cost: O(1).
if not over(run.state) then return nil end
local told = redis.call('HMGET', RUN, 'trace', 'created_at', 'finished_at', 'error')
if not told[1] or redis.call('HSETNX', RUN, 'traced', '1') == 0 then return nil end
return {told[1], run.workflow, run.state, told[2], told[3], told[4] or ''}
