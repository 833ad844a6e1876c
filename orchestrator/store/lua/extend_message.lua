-- Purpose: a heartbeat for messages. delivered stays delivered
-- KEYS: as _message, 10 what the key of a message starts with. ARGV: 1 options, 2 receiver, 3 lease ms, then rings or
--       message ids.
-- Returns: how many of them are held by the receiver.
-- Cost: O(messages). Makes keys by itself, as claim_message.
local held = 0
for i = 4, #ARGV do
  local id = redis.call('HGET', M.held, ARGV[i]) or ARGV[i]
  local found = redis.call('HMGET', KEYS[10] .. id, 'state', 'worker', 'box', 'attempt')
  if found[1] == 'delivered' and found[2] == ARGV[2] then
    local due = NOW + ARGV[3]
    redis.call('HSET', KEYS[10] .. id, 'lease_until', whole(due))
    at(due, 'lease', id, found[3], found[4])
    held = held + 1
  end
end
return held
