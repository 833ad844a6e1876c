-- Purpose: find steps whose message is probably lost: dispatched a while ago and not claimed, while their queue is
--          empty, or a message dispatched a while after it to the same queue and priority was claimed. The while
--          covers the time between noting a dispatch and publishing it. Changes nothing.
-- KEYS: 1 ready zset, 2 queues hash. ARGV: 1 the while, ms, then pairs: `AGENT PRIORITY`, 1 if its queue is empty
--       else 0.
-- Returns: members of the ready zset, at most 100 for each queue.
-- Cost: O(queues * log(ready) + found).
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local found = {}
for i = 2, #ARGV, 2 do
  local queue = ARGV[i]
  local newest = now
  if ARGV[i + 1] == '0' then newest = tonumber(redis.call('HGET', KEYS[2], 'mark ' .. queue) or 0) end
  local upto = string.format('%016.0f', math.max(0, newest - ARGV[1] * 1000))
  for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], '[' .. queue .. ' ', '(' .. queue .. ' ' .. upto, 'LIMIT', 0, 100)) do
    found[#found + 1] = member
  end
end
return found
