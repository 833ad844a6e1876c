-- Purpose: record a step's output and find what it makes ready. running (or, decided, pending) -> succeeded
-- KEYS: as _lib. ARGV: 2 step id, 3 attempt (0: a decision), 4 output (JSON; '' for a gate).
-- Returns: {1, priority, ready, decide}; {0} the attempt does not count any more.
-- Cost: O(successors); for a foreach O(items).
local id, attempt = ARGV[2], tonumber(ARGV[3])
local rec = record(id)
if not current(rec, attempt) then return {0} end
started()
if attempt == 0 then
  drop_timer('decide', RUN_ID, id, '0')
  for i = 0, (rec.n or 0) - 1 do redis.call('HDEL', OUTPUTS, id .. '[' .. i .. ']', 'i:' .. id .. '[' .. i .. ']') end
end
if ARGV[4] ~= '' then redis.call('HSET', OUTPUTS, id, ARGV[4]) end
rec.error = nil
close(id, rec, 'succeeded')
if ARGV[4] ~= '' then emit('step.succeeded', id, rec.attempt) end
local closing = redis.call('HGET', RUN, 'closing')
local base = base_of(id)
if base then settle_item(base, 'succeeded', nil, closing) elseif not closing then settle(id, 'succeeded') end
conclude()
return advance()
