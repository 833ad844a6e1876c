-- Purpose: offer a step again whose message seems lost. pending stays pending
-- KEYS: as _lib. ARGV: 2 step id, 3 the member of the ready zset that the suspicion is about.
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it has moved on since.
-- Cost: O(1).
local id, member = ARGV[2], ARGV[3]
redis.call('ZREM', READY, member)
local rec = record(id)
if not rec or rec.state ~= 'pending' or not rec.seq then return {0} end
if member ~= rec.queue .. ' ' .. rec.seq .. ' ' .. RUN_ID .. ' ' .. id then return {0} end
rec.resent = true
offer(id, rec, node(id))
return advance()
