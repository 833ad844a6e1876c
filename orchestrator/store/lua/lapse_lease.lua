-- Purpose: take a step back from a worker that has not been heard of. running -> pending | failed (too often)
-- KEYS: as _lib. ARGV: 2 step id, 3 attempt, 4 losses that fail the step, 5 error (JSON), 6 1: its process is known
--       to be dead, whatever the lease says.
-- Returns: {1, priority, ready, decide, elsewhere}; {0} the lease holds, or is of another attempt.
-- Cost: O(1); O(successors) when it fails.
local id, attempt = ARGV[2], tonumber(ARGV[3])
local rec = record(id)
if attempt == 0 or not current(rec, attempt) then
  drop_timer('lease', RUN_ID, id, ARGV[3])
  return {0}
end
if ARGV[6] ~= '1' and rec.lease_until > NOW then return {0} end
local graph = node(id)
rec.losses = (rec.losses or 0) + 1
emit('step.lost', id, tries(rec), rec.worker)
if rec.losses < tonumber(ARGV[4]) and live(graph) then
  close_attempt(id, rec)
  offer(id, rec, graph)
else
  fail(id, rec, ARGV[5])
end
return advance()
