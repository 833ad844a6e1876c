-- Take the most urgent message off n queues and note it as delivered but not acknowledged, in one step.
-- KEYS: 1 hash `unacked`; 2 zset `unacked_index`; then n lists: wake-ups of each queue; then the n queues as lists, once
--       per priority, the most urgent first
-- ARGV: 1 delivery tag; 2 n; 3 lifetime of a wake-up in ms; then per queue the end of its entry in `unacked` (kombu's
--       form, [message, exchange, routing key]), or '' if its messages are not acknowledged
-- State: queued -> unacked. Nothing is removed before it is noted, so that no error in between can lose it.
-- Returns {number of the queue from 1, message, 1 if there are more}, or nil when all queues are empty; then nobody has
--       to be woken either.
-- Cost: O(n * priorities); the message is copied, not decoded
local n, wake_ms = tonumber(ARGV[2]), ARGV[3]
local first = 3 + n

-- Whether the queue holds more; if so somebody is woken for it, else a wake-up left over is taken away.
local function more_in(queue)
  local wake = KEYS[2 + queue]
  for k = first + queue - 1, #KEYS, n do
    if redis.call('EXISTS', KEYS[k]) == 1 then
      if redis.call('EXISTS', wake) == 0 then
        redis.call('LPUSH', wake, '1')
        redis.call('PEXPIRE', wake, wake_ms)
      end
      return true
    end
  end
  redis.call('DEL', wake)
  return false
end

for k = first, #KEYS do
  local message = redis.call('LINDEX', KEYS[k], -1)
  if message then
    local queue = (k - first) % n + 1
    local rest = ARGV[3 + queue]
    if rest ~= '' then
      redis.call('HSET', KEYS[1], ARGV[1], '[' .. message .. rest)
      redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[1])
    end
    redis.call('LTRIM', KEYS[k], 0, -2)
    local more = 0
    for other = 1, n do if more_in(other) then more = 1 end end
    return {queue, message, more}
  end
end
for queue = 1, n do redis.call('DEL', KEYS[2 + queue]) end
return nil
