-- Purpose: a step sleeps until a signal comes or a time is there. It holds no worker. pending -> waiting | succeeded
-- KEYS: as _lib. ARGV: 2 step id, 3 turn (0 or less), 4 signal or '', 5 ms to wait at most (-1: without end),
--       6 the time until which to wait, ms since the epoch (-1: none).
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it was decided already.
-- Cost: O(1).
local id, signal, most = ARGV[2], ARGV[4], tonumber(ARGV[5])
if ARGV[6] ~= '-1' then most = math.max(0, ARGV[6] - NOW) end
local rec = record(id)
local graph = node(id)
if not current(rec, tonumber(ARGV[3])) or not live(graph) then return {0} end
started()
drop_timer('decide', RUN_ID, id, '0')
rec.started_at = NOW
if signal ~= '' then
  local kept = cjson.decode(redis.call('HGET', RUN, 'signals') or '{}')
  local early = kept[signal] and table.remove(kept[signal], 1)
  if early then
    if #kept[signal] == 0 then kept[signal] = nil end
    redis.call('HSET', RUN, 'signals', cjson.encode(kept))
    redis.call('HSET', OUTPUTS, id, early)
    succeed(id, rec, graph)
    return advance()
  end
  rec.signal, rec.reason = signal, 'waits for the signal ' .. signal
  local known = cjson.decode(redis.call('HGET', RUN, 'awaited') or '{}')
  known[signal] = known[signal] or {}
  table.insert(known[signal], id)
  redis.call('HSET', RUN, 'awaited', cjson.encode(known))
end
rec.state = 'waiting'
if most >= 0 then
  rec.retry_at = NOW + most
  timer(rec.retry_at, 'retry', RUN_ID, id, '0')
end
save(id, rec)
emit('step.waiting', id, nil, rec.reason)
return advance()
