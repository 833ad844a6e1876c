-- Purpose: what stood before a step is decided, so it may go to its agent; or it waits until an agent with its
--          capability is there. pending stays pending
-- KEYS: as _lib. ARGV: 2 step id, 3 turn (0 or less), 4 agent ('': the plan's), 5 task, 6 segment (JSON), 7 ms after
--       which it is decided again, because nobody can take it now (0: it goes to its agent), 8 reason,
--       9 key its output is kept under ('': none), 10 limits (JSON; '': the plan's).
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it was decided already, or waits.
-- Cost: O(1).
local id = ARGV[2]
local rec = record(id)
local graph = node(id)
if not current(rec, tonumber(ARGV[3])) or not live(graph) then return {0} end
if ARGV[7] ~= '0' then
  rec.reason = ARGV[8]
  save(id, rec)
  timer(NOW + ARGV[7], 'decide', RUN_ID, id, '0')
  return {0}
end
drop_timer('decide', RUN_ID, id, '0')
rec.reason = nil
if ARGV[4] ~= '' then assign(rec, ARGV[4], ARGV[5], ARGV[6]) end
if ARGV[9] ~= '' then rec.cache = ARGV[9] end
if ARGV[10] ~= '' then rec.limits = cjson.decode(ARGV[10]) end
offer(id, rec, graph)
return advance()
