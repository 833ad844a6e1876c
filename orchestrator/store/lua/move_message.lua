-- Purpose: give a message that was parked for a capability to an agent that has it. pending stays pending
-- KEYS: as finish_message, for the agent's box; 16 the inbox it is parked in. ARGV: 1 options, 2 id, 3 box, 4 agent,
--       5 ring, 6 signature or ''.
-- Returns: {1, ring to send}; {0} it is not parked there any more.
-- Cost: O(log n).
local key, rec = KEYS[10], load(KEYS[10])
if redis.call('ZREM', KEYS[16], ARGV[2]) == 0 or not rec then return {0} end
forget('ttl', rec.id, rec.box, '0')
if rec.expires_at then at(tonumber(rec.expires_at), 'ttl', rec.id, ARGV[3], '0') end
rec.box = ARGV[3]
redis.call('HSET', key, 'box', rec.box, 'to', ARGV[4])
if ARGV[6] ~= '' then redis.call('HSET', key, 'signature', ARGV[6]) end
note('message.routed', 'm', rec.id, 'from', rec.to, 'to', ARGV[4])
return {1, admit(rec, rec.id, {KEYS[11], KEYS[12], KEYS[13], KEYS[14]}, ARGV[5])}
