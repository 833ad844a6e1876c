-- Purpose: give the most urgent message, or a certain one, to one receiver under a lease. pending -> delivered
-- KEYS: as _message, 10 what the key of a message starts with, then inboxes.
-- ARGV: 1 options, 2 receiver, 3 lease ms (0: held until it is closed), 4 the ring that came for it or '',
--       5 a certain message or '', 6 state of a handoff that is claimed (accepted, in_progress), 7 passed-over claims
--       after which the oldest goes first, 8 ms they must have lasted, 9 the newest schema that the receiver
--       understands, 10 1: asked again, because no answer came.
-- Returns: {id, attempt, failures, late, now ms, from, to, type, priority, box, task, envelope, body, signature,
--          created ms}; {id} what lay there is no message, and is out of the way now; nil: nothing to claim.
-- Cost: O(log n). Makes a key by itself: which message is the next one, only it can know.
if ARGV[10] == '1' then
  local id = redis.call('HGET', M.held, ARGV[4])
  local rec = id and load(KEYS[10] .. id)
  if rec and rec.state == 'delivered' and rec.worker == ARGV[2] then return delivery(rec) end
end
return give({unpack(KEYS, 11)}, ARGV[4], ARGV[5])
