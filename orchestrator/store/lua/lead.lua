-- Purpose: become the keeper, or stay it, or stand by.
-- KEYS: 1 string: who keeps; 2 string: that somebody stands by; 3 wake list.
-- ARGV: 1 name, 2 ms the place is held while nobody stands by, 3 ms while somebody does, 4 ms a stand-by counts.
-- State: whoever stands by shortens a place that was taken for longer, and wakes the keeper, which takes it again if it
--        lives.
-- Returns: {1, 1 if nobody stands by, who kept before or ''} while the name holds the place,
--          else {0, ms until it falls vacant, who keeps}. Cost: O(1).
local holder = redis.call('GET', KEYS[1]) or ''
if holder == '' or holder == ARGV[1] then
  local alone = redis.call('EXISTS', KEYS[2]) == 0
  redis.call('SET', KEYS[1], ARGV[1], 'PX', alone and ARGV[2] or ARGV[3])
  return {1, alone and 1 or 0, holder}
end
redis.call('SET', KEYS[2], '1', 'PX', ARGV[4])
local left = redis.call('PTTL', KEYS[1])
if left > tonumber(ARGV[3]) then
  left = tonumber(ARGV[3])
  redis.call('PEXPIRE', KEYS[1], left)
  redis.call('LPUSH', KEYS[3], '1')
  redis.call('LTRIM', KEYS[3], 0, 0)
end
return {0, left, holder}
