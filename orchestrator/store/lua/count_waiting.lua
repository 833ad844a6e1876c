-- Purpose: what waits for each agent, by priority, and what runs. Changes nothing.
-- KEYS: 1 ready zset, 2 queues hash. ARGV: 1 what the key of an inbox starts with, 2 what that of a message starts with,
--       3 what the box of the handoffs to an agent ends with, 4 the span of a priority in an inbox, 5 how many
--       priorities, then these, the most urgent first, then agents.
-- Returns: for each agent {attempts that run, and for each priority: steps, messages, handoffs, ms for which the oldest
--          of them waits}; {attempts that run} alone where nothing waits.
-- Cost: O(agents * log n). Makes keys by itself: which message is the oldest of an inbox, it finds out.
local ready, inbox, message, span, ranks = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- How many steps wait in a queue, and since when. The third word of an entry is when it was dispatched, in us.
local function steps_of(queue)
  local first, last = '[' .. queue .. ' ', '[' .. queue .. ' \255'
  local count = redis.call('ZLEXCOUNT', ready, first, last)
  if count == 0 then return 0 end
  local oldest = redis.call('ZRANGEBYLEX', ready, first, last, 'LIMIT', 0, 1)[1]
  return count, math.floor(string.match(oldest, '^%S+ %S+ (%d+)') / 1000)
end

-- How many messages of a rank wait in a box, and since when. The first is the oldest: within a priority first in, first out.
local function messages_of(box, rank)
  local from, upto = string.format('%.0f', rank * span), string.format('(%.0f', (rank + 1) * span)
  local count = redis.call('ZCOUNT', inbox .. box, from, upto)
  if count == 0 then return 0 end
  local oldest = redis.call('ZRANGEBYSCORE', inbox .. box, from, upto, 'LIMIT', 0, 1)[1]
  return count, tonumber(redis.call('HGET', message .. oldest, 'created_at') or now_ms)
end

local found = {}
for at = 6 + ranks, #ARGV do
  local agent = ARGV[at]
  local tasks = agent .. ARGV[3]
  local row = {tonumber(redis.call('HGET', KEYS[2], 'running ' .. agent) or 0)}
  if redis.call('ZLEXCOUNT', ready, '[' .. agent .. ' ', '[' .. agent .. ' \255') > 0
    or redis.call('EXISTS', inbox .. agent, inbox .. tasks) > 0 then
    for rank = 0, ranks - 1 do
      local steps, since = steps_of(agent .. ' ' .. ARGV[6 + rank])
      local messages, sent = messages_of(agent, rank)
      local handoffs, offered = messages_of(tasks, rank)
      local oldest = math.min(since or now_ms, sent or now_ms, offered or now_ms)
      for _, value in ipairs({steps, messages, handoffs, now_ms - oldest}) do row[#row + 1] = value end
    end
  end
  found[#found + 1] = row
end
return found
