-- Purpose: end an attempt before any handler has seen the message, because it is not in order. delivered -> failed (its
--          bytes go into quarantine) | expired
-- KEYS: as _message, 10 message, 11 bell, 12 hash: quarantine. ARGV: 1 options, 2 attempt, 3 receiver, 4 state,
--       5 error (JSON), 6 id and 7 entry (JSON) in the quarantine, '' for none.
-- Returns: 1 done; 0 it is not held by the receiver.
-- Cost: O(log n).
local key, state, failure = KEYS[10], ARGV[4], ARGV[5]
local rec = load(key)
if not rec or rec.state ~= 'delivered' or rec.worker ~= ARGV[3] or rec.attempt ~= ARGV[2] then return 0 end
end_attempt(key, rec, failure, state)
if rec.task then custody(key, rec, state, rec.from) end
conclude_message(key, rec, state, failure, KEYS[11])
redis.call('ZREM', M.dead, rec.id)   -- nobody is to send it again
redis.call('PEXPIRE', key, M.options.retain)
if ARGV[6] ~= '' then redis.call('HSET', KEYS[12], ARGV[6], whole(NOW) .. ' ' .. ARGV[7]) end
return 1
