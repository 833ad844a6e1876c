-- Purpose: end an attempt that failed. running -> waiting (a retry is due later) | failed; pending -> failed (decided)
-- KEYS: as _lib. ARGV: 2 step id, 3 attempt (0: a decision), 4 error (JSON), 5 delay ms of the retry (-1: none;
--       a decision has none).
-- Returns: {1, priority, ready, decide}; {0} the attempt does not count any more.
-- Cost: O(successors); O(steps) when it ends the run.
local id, attempt, delay = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local rec = record(id)
if not current(rec, attempt) then return {0} end
started()
rec.failures = (rec.failures or 0) + 1
if attempt > 0 and delay >= 0 and not redis.call('HGET', RUN, 'closing') then
  close_attempt(id, rec)
  rec.state, rec.error, rec.retry_at = 'waiting', cjson.decode(ARGV[4]), NOW + delay
  save(id, rec)
  timer(rec.retry_at, 'retry', RUN_ID, id, rec.attempt)
  emit('step.retrying', id, rec.attempt, ARGV[4])
  return advance()
end
if attempt == 0 then drop_timer('decide', RUN_ID, id, '0') end
fail(id, rec, ARGV[4])
return advance()
