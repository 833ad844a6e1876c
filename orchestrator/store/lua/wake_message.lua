-- Purpose: do what is due to a message: its lease is over (delivered -> pending | dead), its time to be delivered or
--          tried again has come (pending stays pending), its ttl is over (pending -> expired).
-- KEYS: as finish_message. ARGV: 1 options, 2 id, 3 kind (lease, due, ttl), 4 attempt, 5 box, 6 losses that end it,
--       7 error (JSON), 8 ring, 9 1: its process is known to be dead, whatever the lease says.
-- Returns: {1, ring to send} done; {0} nothing to do, or not yet.
-- Cost: O(log n).
local key, id, kind, attempt = KEYS[10], ARGV[2], ARGV[3], ARGV[4]
local rec = load(key)
local place = {KEYS[11], KEYS[12], KEYS[13], KEYS[14]}
local lapses = ARGV[9] == '1' or (rec and rec.lease_until)   -- a message without a lease is held until it is closed
local moot = not rec
  or (kind == 'lease' and (rec.state ~= 'delivered' or rec.attempt ~= attempt or not lapses))
  or (kind ~= 'lease' and rec.state ~= 'pending')
  or (kind == 'ttl' and not rec.expires_at)
if moot then
  -- A message that is being handled when its ttl is over may finish; should it come back, it expires then.
  if not rec or kind ~= 'ttl' or rec.state ~= 'delivered' then forget(kind, id, ARGV[5], attempt) end
  return {0}
end
if kind == 'lease' then
  if ARGV[9] ~= '1' and tonumber(rec.lease_until) > NOW then return {0} end
  local losses = redis.call('HINCRBY', key, 'losses', 1)
  end_attempt(key, rec, ARGV[7])
  note('message.lost', 'm', id, 'to', rec.to, 'a', rec.attempt)
  if rec.once or losses >= tonumber(ARGV[6]) then
    if rec.task then custody(key, rec, 'failed', rec.from) end
    conclude_message(key, rec, 'dead', ARGV[7], KEYS[15])
    return {1, ''}
  end
  rec.state = 'pending'
  redis.call('HSET', key, 'state', 'pending')
  if rec.task then custody(key, rec, 'offered', rec.from) end
  ring_bell(rec, KEYS[15])
  return {1, admit(rec, id, place, ARGV[8])}
elseif kind == 'due' then
  if rec.due_at and tonumber(rec.due_at) > NOW then return {0} end
  forget('due', id, rec.box, '0')
  return {1, admit(rec, id, place, ARGV[8])}
end
if tonumber(rec.expires_at) > NOW then return {0} end
redis.call('ZREM', KEYS[11], id)
if rec.task then custody(key, rec, 'expired', rec.from) end
conclude_message(key, rec, 'expired', nil, KEYS[15])
return {1, ''}
