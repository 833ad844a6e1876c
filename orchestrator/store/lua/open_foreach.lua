-- Purpose: store the items of a foreach and start the first of them. pending -> running
-- KEYS: as _lib. ARGV: 2 step id, 3 turn (0 or less), 4 items at a time (0: all), then the items (JSON), in order.
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it was opened already.
-- Cost: O(items).
local id, parallel = ARGV[2], tonumber(ARGV[4])
local rec = record(id)
local graph = node(id)
if not current(rec, tonumber(ARGV[3])) or rec.state ~= 'pending' or not live(graph) then return {0} end
started()
drop_timer('decide', RUN_ID, id, '0')
local n = #ARGV - 4
for i = 1, n do
  local item = id .. '[' .. (i - 1) .. ']'
  -- What an earlier run has finished counts only for the same item.
  if run.reuse and redis.call('HGET', OUTPUTS, 'i:' .. item) ~= ARGV[i + 4] then redis.call('HDEL', STEPS, item) end
  redis.call('HSET', OUTPUTS, 'i:' .. item, ARGV[i + 4])
end
rec.state, rec.started_at, rec.n, rec.done, rec.cursor = 'running', NOW, n, 0, 0
save(id, rec)
emit('step.started', id, nil, tostring(n))
local most, running = (parallel > 0 and parallel < n) and parallel or n, 0
while rec.cursor < n and running < most do
  rec.cursor = rec.cursor + 1
  if start_item(id, rec, graph, rec.cursor - 1) then running = running + 1 end
end
save(id, rec)
if rec.done == rec.cursor then ask(id, rec) end
return advance()
