-- Purpose: record how far an attempt is. running stays running
-- KEYS: as _lib. ARGV: 2 step id, 3 attempt, 4 share from 0 to 1 or '', 5 note or '', 6 both as JSON for the event.
-- Returns: 1 recorded; 0 the attempt does not count any more.
-- Cost: O(1).
local id, attempt = ARGV[2], tonumber(ARGV[3])
local rec = record(id)
if not current(rec, attempt) then return 0 end
if ARGV[4] ~= '' then rec.progress = tonumber(ARGV[4]) end
if ARGV[5] ~= '' then rec.note = ARGV[5] end
save(id, rec)
emit('step.progress', id, tries(rec), ARGV[6])
return 1
