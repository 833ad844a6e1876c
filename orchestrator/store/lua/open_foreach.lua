-- Purpose: store the items of a foreach and offer the first of them. pending -> running
-- KEYS: as _lib. ARGV: 2 step id, 3 items at a time (0: all), then the items (JSON), in order.
-- Returns: {1, priority, ready, decide}; {0} it was opened already.
-- Cost: O(items).
local id, parallel = ARGV[2], tonumber(ARGV[3])
local rec = record(id)
if not current(rec, 0) or rec.n or redis.call('HGET', RUN, 'closing') then return {0} end
started()
drop_timer('decide', RUN_ID, id, '0')
local n = #ARGV - 3
for i = 1, n do redis.call('HSET', OUTPUTS, 'i:' .. id .. '[' .. (i - 1) .. ']', ARGV[i + 3]) end
rec.state, rec.started_at, rec.n, rec.done = 'running', NOW, n, 0
rec.cursor = (parallel > 0 and parallel < n) and parallel or n
save(id, rec)
emit('step.started', id, nil, tostring(n))
local graph = node(id)
for i = 0, rec.cursor - 1 do offer(id .. '[' .. i .. ']', {}, graph) end
if n == 0 then ask(id) end
return advance()
