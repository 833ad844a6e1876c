-- Purpose: set up, replace, move on or remove a schedule, with its timer. Its plans are kept while it is there.
-- KEYS: 1 schedules hash, 2 timers zset, 3 wake list.
-- ARGV: 1 name, 2 schedule (JSON; '': remove it; without `pins`: those of before), 3 ms when it is due next ('': never),
--       4 what must be due next at this moment ('': no matter).
-- Returns: 1 done; 0 there was nothing to remove, or it is not what was expected.
-- Cost: O(plans).
local name, text = ARGV[1], ARGV[2]
local before = redis.call('HGET', KEYS[1], name)
local old = before and cjson.decode(before)
if ARGV[4] ~= '' and not (old and tostring(old.next_ms) == tostring(tonumber(ARGV[4]))) then return 0 end
if text == '' and not old then return 0 end
local new = text ~= '' and cjson.decode(text)
local timer = 'schedule ' .. name .. ' - 0'
redis.call('ZREM', KEYS[2], timer)
if new and new.pins then
  for _, plan in ipairs(new.pins) do
    redis.call('PERSIST', plan)
    redis.call('HINCRBY', plan, 'live', 1)
  end
end
if old and (not new or new.pins) then
  for _, plan in ipairs(old.pins) do
    if redis.call('HINCRBY', plan, 'live', -1) <= 0 then redis.call('PEXPIRE', plan, 86400000) end
  end
end
if not new then
  redis.call('HDEL', KEYS[1], name)
  return 1
end
if not new.pins then
  -- Encoded by the caller: an empty list or map would not survive being decoded here.
  text = string.sub(text, 1, -2) .. ', "pins": ' .. cjson.encode(old.pins) .. '}'
end
redis.call('HSET', KEYS[1], name, text)
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[3], timer)
  redis.call('LPUSH', KEYS[3], '1')
  redis.call('LTRIM', KEYS[3], 0, 0)
end
return 1
