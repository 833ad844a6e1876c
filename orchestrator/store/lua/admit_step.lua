-- Purpose: a step's `when` is true, so it may go to its agent. pending stays pending
-- KEYS: as _lib. ARGV: 2 step id.
-- Returns: {1, priority, ready, decide}; {0} it was decided already.
-- Cost: O(1).
local id = ARGV[2]
local rec = record(id)
if not current(rec, 0) or redis.call('HGET', RUN, 'closing') then return {0} end
drop_timer('decide', RUN_ID, id, '0')
offer(id, rec, node(id))
return advance()
