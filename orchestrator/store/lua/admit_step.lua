-- Purpose: a step's `when` is true, so it may go to its agent; or it waits until an agent with its capability is there.
--          pending stays pending
-- KEYS: as _lib. ARGV: 2 step id, 3 agent ('': the plan's), 4 task, 5 segment (JSON), 6 ms after which it is decided
--       again, because nobody can take it now (0: it goes to its agent), 7 reason.
-- Returns: {1, priority, ready, decide}; {0} it was decided already, or waits.
-- Cost: O(1).
local id = ARGV[2]
local rec = record(id)
if not current(rec, 0) or redis.call('HGET', RUN, 'closing') then return {0} end
if ARGV[6] ~= '0' then
  rec.reason = ARGV[7]
  save(id, rec)
  timer(NOW + ARGV[6], 'decide', RUN_ID, id, '0')
  return {0}
end
drop_timer('decide', RUN_ID, id, '0')
rec.reason = nil
if ARGV[3] ~= '' then assign(rec, ARGV[3], ARGV[4], ARGV[5]) end
offer(id, rec, node(id))
return advance()
