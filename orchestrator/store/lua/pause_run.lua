-- Purpose: nothing more of a run starts until it goes on; what runs may end. pending | running -> paused, and back
-- KEYS: as _lib. ARGV: 2 1: pause, 0: go on.
-- Returns: {1, priority, ready, decide, elsewhere, children}; {0} it was so already; {-1} no such run;
--          {-2, state} it is over.
-- Cost: O(steps).
local pause = ARGV[2] == '1'
if not run.state then return {-1} end
if over(run.state) then return {-2, run.state} end
if (run.state == 'paused') == pause then return {0} end
local children = {}
run.state = pause and 'paused' or (redis.call('HEXISTS', RUN, 'started_at') == 1 and 'running' or 'pending')
redis.call('HSET', RUN, 'state', run.state)
emit(pause and 'run.paused' or 'run.resumed')
-- The time that the run may take stands still.
local due = 'run ' .. RUN_ID .. ' - 0'
if pause then
  local left = redis.call('ZSCORE', TIMERS, due)
  if left then redis.call('HSET', RUN, 'time_left', left - NOW) end
  redis.call('ZREM', TIMERS, due)
else
  local left = redis.call('HGET', RUN, 'time_left')
  if left and run.phase == 'main' then timer(NOW + left, 'run', RUN_ID, '-', '0') end
  redis.call('HDEL', RUN, 'time_left')
end
local all = redis.call('HGETALL', STEPS)
for i = 1, #all, 2 do
  local id = all[i]
  if string.sub(id, 1, 1) ~= '#' then
    local rec = cjson.decode(all[i + 1])
    if rec.child and alive(rec) then children[#children + 1] = rec.child end
    if pause and rec.state == 'pending' and rec.seq then
      withdraw(id, rec)
      rec.held, rec.seq, rec.queue = 'offer', nil, nil
      save(id, rec)
    elseif pause and alive(rec) and drop_timer('decide', RUN_ID, id, '0') == 1 then
      rec.held = 'ask'
      save(id, rec)
    elseif not pause and rec.held then
      local how = rec.held
      rec.held = nil
      save(id, rec)
      if how == 'offer' then offer(id, rec, node(id)) else ask(id, rec) end
    end
  end
end
conclude()
local result = advance()
result[6] = children
return result
