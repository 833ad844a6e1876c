-- Purpose: move a step to another agent, because its handler returned a Handoff. running -> pending
-- KEYS: as _lib. ARGV: 2 step id, 3 attempt, 4 agent that has it, 5 agent, 6 task, 7 segment (JSON), 8 context (JSON).
-- Returns: {1, priority, ready, decide, elsewhere}; {0} the attempt does not count any more.
-- Cost: O(1).
local id, attempt = ARGV[2], tonumber(ARGV[3])
local rec = record(id)
if attempt == 0 or not current(rec, attempt) then return {0} end
local graph = node(id)
close_attempt(id, rec)
rec.error, rec.failures = nil, nil
rec.hands = rec.hands or {ARGV[4]}
rec.hands[#rec.hands + 1] = ARGV[5]
rec.context = ARGV[8]
emit('step.handed_off', id, tries(rec), cjson.encode({from = ARGV[4], to = ARGV[5]}))
if live(graph) then
  assign(rec, ARGV[5], ARGV[6], ARGV[7])
  offer(id, rec, graph)
else
  cancel(id, rec)
  conclude()
end
return advance()
