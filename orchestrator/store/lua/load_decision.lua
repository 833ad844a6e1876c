-- Purpose: read what a decision needs. Changes nothing.
-- KEYS: as _lib. ARGV: 2 step id, 3 the newest schema that is understood.
-- Returns: {body, record, what `scope_of` returns}; {} the plan has no such step; nil: the run is of a newer schema.
-- Cost: O(inputs and steps that the step's expressions name).
local id = ARGV[2]
if run.schema > tonumber(ARGV[3]) then return nil end
local body = redis.call('HGET', PLAN, 'b:' .. split(id))
if not body then return {} end
return {body, redis.call('HGET', STEPS, id) or '', scope_of(id, node(id), true)}
