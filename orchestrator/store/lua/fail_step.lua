-- Purpose: end an attempt that failed. running -> waiting (a retry is due later) | pending (its fallback) | failed;
--          pending | waiting -> failed (decided)
-- KEYS: as _lib. ARGV: 2 step id, 3 attempt (0 or less: a decision), 4 error (JSON), 5 delay ms of the retry (-1: none;
--       of the decisions only a child run has one).
-- Returns: {1, priority, ready, decide, elsewhere}; {0} the attempt does not count any more.
-- Cost: O(successors); O(steps) when it ends the run.
local id, attempt, delay = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local rec = record(id)
if not current(rec, attempt) then return superseded(id, rec, attempt, nil, ARGV[4]) end
started()
rec.failures = (rec.failures or 0) + 1
if attempt <= 0 then drop_timer('decide', RUN_ID, id, '0') end
local graph = node(id)
if delay >= 0 and (attempt > 0 or graph.kind == 'workflow') and live(graph) then
  close_attempt(id, rec)
  rec.state, rec.error, rec.retry_at, rec.child = 'waiting', cjson.decode(ARGV[4]), NOW + delay, nil
  save(id, rec)
  timer(rec.retry_at, 'retry', RUN_ID, id, rec.attempt or 0)
  emit('step.retrying', id, tries(rec), ARGV[4])
  return advance()
end
fail(id, rec, ARGV[4])
return advance()
