-- Purpose: a retry is due. waiting -> pending
-- KEYS: as _lib. ARGV: 2 step id, 3 attempt that the timer names.
-- Returns: {1, priority, ready, decide}; {0} nothing to do.
-- Cost: O(1).
local id = ARGV[2]
local rec = record(id)
if not rec or rec.state ~= 'waiting' then
  drop_timer('retry', RUN_ID, id, ARGV[3])
  return {0}
end
if rec.retry_at > NOW or redis.call('HGET', RUN, 'closing') then return {0} end
drop_timer('retry', RUN_ID, id, rec.attempt)
rec.retry_at = nil
offer(id, rec, node(id))
return advance()
