-- Purpose: take the timers that are due. They come back after `hold` unless what they stand for is done. What is no timer is
--          thrown away: it would be taken with the others each time, and nobody could read it.
-- KEYS: 1 timers zset, 2 ready zset. ARGV: 1 how many at most, 2 hold ms.
-- Returns: {ms until the next timer or -1, steps dispatched and unclaimed, timer, ...}.
-- Cost: O(due).
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local due = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  if string.find(member, '^%l+ [!-~]+ [!-~]+ %-?%d+$') and #member < 1000 then
    redis.call('ZADD', KEYS[1], now + ARGV[2], member)
    due[#due + 1] = member
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local result = {head[2] and math.max(0, head[2] - now) or -1, redis.call('ZCARD', KEYS[2])}
for _, member in ipairs(due) do result[#result + 1] = member end
return result
