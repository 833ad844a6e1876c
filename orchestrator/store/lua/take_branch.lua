-- Purpose: record which branch of a switch is taken. pending -> succeeded
-- KEYS: as _lib. ARGV: 2 step id, 3 turn (0 or less), 4 number of the branch, from 0; '': none.
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it was decided already.
-- Cost: O(branches).
local id = ARGV[2]
local rec = record(id)
if not current(rec, tonumber(ARGV[3])) then return {0} end
started()
drop_timer('decide', RUN_ID, id, '0')
rec.branch = tonumber(ARGV[4])
succeed(id, rec, node(id))
return advance()
