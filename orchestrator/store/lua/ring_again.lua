-- Purpose: call a worker again for a box whose ring seems lost, or whose messages never had one.
-- KEYS: as _message, 10 inbox, 11 queue, 12 its wake. ARGV: 1 options, 2 the ring that seems lost or '', 3 box,
--       4 priority, 5 message id, 6 ring.
-- Returns: {1, ring to send}; {0} nothing waits, or the ring has been received.
-- Cost: O(log n).
if ARGV[2] ~= '' and redis.call('ZREM', M.rings, ARGV[2]) == 0 then return {0} end
if redis.call('ZCARD', KEYS[10]) == 0 then return {0} end
return {1, call_for({box = ARGV[3], priority = ARGV[4]}, ARGV[5], {'', KEYS[10], KEYS[11], KEYS[12]}, ARGV[6])}
