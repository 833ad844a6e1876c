-- Purpose: record that a step's `when` is false. pending -> skipped
-- KEYS: as _lib. ARGV: 2 step id, 3 reason.
-- Returns: {1, priority, ready, decide}; {0} it was decided already.
-- Cost: O(successors).
local id = ARGV[2]
local rec = record(id)
if not current(rec, 0) or rec.n then return {0} end
started()
drop_timer('decide', RUN_ID, id, '0')
rec.reason = ARGV[3]
close(id, rec, 'skipped')
emit('step.skipped', id, nil, ARGV[3])
if not redis.call('HGET', RUN, 'closing') then settle(id, 'skipped') end
conclude()
return advance()
