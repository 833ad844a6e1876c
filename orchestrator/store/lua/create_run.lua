-- Purpose: record a new run and find its first steps. -> pending
-- KEYS: as _lib, 12 runs zset, 13 idempotency key (string; the run key again when there is none).
-- ARGV: 2 idempotency ttl ms (0: no key), 3 run time-out ms (0: none), then field, value pairs of the run hash.
-- Returns: {1, priority, ready, decide} created; {0, run id} the key was used before; {-1} the plan is not stored.
-- Cost: O(inputs + entry steps).
if tonumber(ARGV[2]) > 0 then
  local known = redis.call('GET', KEYS[13])
  if known then return {0, known} end
end
local plan = redis.call('HMGET', PLAN, '$entry', '$count')
if not plan[1] then return {-1} end
if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[13], RUN_ID, 'PX', ARGV[2]) end
redis.call('PERSIST', PLAN)
redis.call('HINCRBY', PLAN, 'live', 1)
for i = 4, #ARGV, 2 do redis.call('HSET', RUN, ARGV[i], ARGV[i + 1]) end
redis.call('HSET', RUN, 'state', 'pending', 'created_at', NOW, 'open', plan[2], 'active', 0)
redis.call('ZADD', KEYS[12], NOW, RUN_ID)
emit('run.created')
if tonumber(ARGV[3]) > 0 then timer(NOW + ARGV[3], 'run', RUN_ID, '-', '0') end
for _, id in ipairs(cjson.decode(plan[1])) do
  local ended = arrive(id, node(id))
  if ended then settle(id, ended) end
end
conclude()
return advance()
