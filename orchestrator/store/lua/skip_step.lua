-- Purpose: record that a step's `when` is false. pending -> skipped
-- KEYS: as _lib. ARGV: 2 step id, 3 turn (0 or less), 4 reason.
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it was decided already.
-- Cost: O(successors).
local id = ARGV[2]
local rec = record(id)
if not current(rec, tonumber(ARGV[3])) or rec.state ~= 'pending' then return {0} end
local graph, _, at = node(id), split(id)
started()
drop_timer('decide', RUN_ID, id, '0')
rec.reason = ARGV[4]
close(id, rec, 'skipped')
if not graph.internal then emit('step.skipped', id, nil, ARGV[4]) end
skip_inside(graph, at, 'its container ' .. id .. ' was skipped')
if live(graph) then settle(id, 'skipped') end
conclude()
return advance()
