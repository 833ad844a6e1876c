-- Purpose: read what a decision needs. Changes nothing.
-- KEYS: as _lib. ARGV: 2 step id, or `$outputs`, 3 the newest schema that is understood.
-- Returns: what `question_of` returns; nil: the run is of a newer schema.
-- Cost: O(inputs and steps that the step's expressions name).
if run.schema > tonumber(ARGV[3]) then return nil end
return question_of(ARGV[2])
