-- Purpose: become the keeper, or stay it.
-- KEYS: 1 string: who keeps. ARGV: 1 name, 2 ms after which the place falls vacant.
-- Returns: 1 while the name holds the place, else 0. Cost: O(1).
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
