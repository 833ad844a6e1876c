-- Purpose: start the next round of a loop, or its first one. pending -> running; running -> running | waiting (delay)
-- KEYS: as _lib. ARGV: 2 step id, 3 turn (0 or less), 4 ms before the round.
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it was decided already.
-- Cost: O(steps inside).
local id = ARGV[2]
local rec = record(id)
local graph, _, at = node(id), split(id)
if not current(rec, tonumber(ARGV[3])) or not live(graph) then return {0} end
started()
drop_timer('decide', RUN_ID, id, '0')

-- Forget a step of the round that is over, except what the next one reads of it and what may have to be undone.
local function wipe(name)
  local old, about, _, suffix = record(name), node(name), split(name)
  if old then
    redis.call('HSET', STEPS, '#a' .. name, (old.attempt or old.before or 0) .. ' ' .. ((old.turn or 0) + 1))
    if old.undo then
      redis.call('HSET', STEPS, name .. '~' .. old.undo, cjson.encode(old))
      local output = redis.call('HGET', OUTPUTS, name)
      if output then redis.call('HSET', OUTPUTS, name .. '~' .. old.undo, output) end
      local item = 'i:' .. (about.each or about.kind == 'foreach' and split(name) or '') .. suffix
      local value = redis.call('HGET', OUTPUTS, item)
      if value then redis.call('HSET', OUTPUTS, item .. '~' .. old.undo, value) end
    end
    for i = 0, (old.n or 0) - 1 do
      local index = '[' .. i .. ']'
      wipe(name .. index)
      for _, step in ipairs(about.body or {}) do wipe(step .. suffix .. index) end
      redis.call('HDEL', OUTPUTS, 'i:' .. name .. index)
    end
  end
  redis.call('HDEL', STEPS, name, '#' .. name, '#' .. name .. '!f', '#' .. name .. '!s', '#' .. name .. '!g')
  redis.call('HDEL', OUTPUTS, name)
end

if rec.state == 'pending' then
  rec.round, rec.started_at = 0, NOW
  emit('step.started', id)
else
  cancel_body(graph, at)   -- what was left to finish, of a race, does not go on into the next round
  for _, name in ipairs(graph.previous) do
    redis.call('HSET', STEPS, '#p' .. name .. at, redis.call('HGET', STEPS, name .. at) or '')
    redis.call('HSET', OUTPUTS, 'p:' .. name .. at, redis.call('HGET', OUTPUTS, name .. at) or 'null')
  end
  for _, name in ipairs(graph.body) do wipe(name .. at) end
  rec.round = rec.round + 1
end
rec.turn = (rec.turn or 0) + 1
rec.state, rec.at_end = 'running', nil
if tonumber(ARGV[4]) > 0 then
  rec.state, rec.retry_at = 'waiting', NOW + ARGV[4]
  timer(rec.retry_at, 'retry', RUN_ID, id, '0')
end
save(id, rec)
if rec.state == 'running' then
  emit('step.round', id, nil, tostring(rec.round))
  begin_all(graph.entry, at)
end
return advance()
