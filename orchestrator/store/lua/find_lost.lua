-- Purpose: find steps whose message is probably lost: dispatched a while ago and not claimed, while their queue is
--          empty, or messages dispatched later to the same queue and priority were claimed. Changes nothing.
-- KEYS: 1 ready zset, 2 queues hash. ARGV: 1 grace ms, then pairs: `AGENT PRIORITY`, 1 if its queue is empty else 0.
-- Returns: members of the ready zset, at most 100 for each queue.
-- Cost: O(queues * log(ready) + found).
local clock = redis.call('TIME')
local limit = string.format('%.0f', clock[1] * 1000000 + clock[2] - ARGV[1] * 1000)
local found = {}
for i = 2, #ARGV, 2 do
  local queue, upto = ARGV[i], limit
  if ARGV[i + 1] == '0' then
    local mark = redis.call('HGET', KEYS[2], 'mark ' .. queue) or '0'
    if mark < upto then upto = mark end
  end
  for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], '[' .. queue .. ' ', '(' .. queue .. ' ' .. upto, 'LIMIT', 0, 100)) do
    found[#found + 1] = member
  end
end
return found
