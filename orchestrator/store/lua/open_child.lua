-- Purpose: note which run is the child that a step waits for. The run is created next. pending -> waiting
-- KEYS: as _lib. ARGV: 2 step id, 3 turn (0 or less), 4 id of the child.
-- Returns: 1 noted; 0 it was decided already.
-- Cost: O(1).
local id = ARGV[2]
local rec = record(id)
local graph = node(id)
if not current(rec, tonumber(ARGV[3])) or rec.state ~= 'pending' or not live(graph) then return 0 end
started()
rec.state, rec.child, rec.started_at = 'waiting', ARGV[4], rec.started_at or NOW
rec.attempt = (rec.attempt or 0) + 1
save(id, rec)
emit('step.started', id, tries(rec), cjson.encode({run = ARGV[4]}))
return 1
