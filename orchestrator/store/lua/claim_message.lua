-- Purpose: give the most urgent message, or a certain one, to one receiver under a lease. pending -> delivered
-- KEYS: as _message, 10 what the key of a message starts with, then inboxes.
-- ARGV: 1 options, 2 receiver, 3 lease ms (0: held until it is closed), 4 the ring that came for it or '',
--       5 a certain message or '', 6 state of a handoff that is claimed (accepted, in_progress), 7 passed-over claims
--       after which the oldest goes first, 8 ms they must have lasted, 9 the newest schema that the receiver
--       understands, 10 1: asked again, because no answer came.
-- Returns: {id, attempt, failures, envelope, body, created ms, late, box, task, from, to, type, priority}, or nil:
--          nothing to claim.
-- Cost: O(log n). The one script that makes a key by itself: which message is the next one, only it can know.
local receiver, lease, ring, wanted = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
if ARGV[10] == '1' then
  local id = redis.call('HGET', M.held, ring)
  local rec = id and load(KEYS[10] .. id)
  if rec and rec.state == 'delivered' and rec.worker == receiver then return delivery(rec) end
end
if ring ~= '' then
  redis.call('ZREM', M.rings, ring)
  local queue, seq = string.match(ring, '^(%S+ %S+) (%S+)')
  if (redis.call('HGET', M.queues, 'mark ' .. queue) or '0') < seq then
    redis.call('HSET', M.queues, 'mark ' .. queue, seq)
  end
end
while true do
  local id = wanted ~= '' and wanted or next_message()
  if not id then return nil end
  for i = 11, #KEYS do redis.call('ZREM', KEYS[i], id) end
  local key = KEYS[10] .. id
  local rec = load(key)
  if rec and rec.state == 'pending' then
    if rec.expires_at and tonumber(rec.expires_at) <= NOW then
      at(NOW, 'ttl', id, rec.box, '0')   -- the keeper tells whom it concerns
    elseif tonumber(rec.schema or 1) > tonumber(ARGV[9]) then
      redis.call('HSET', key, 'due_at', whole(NOW + SKEW_MS), 'reason', 'waits for a worker of a newer version')
      at(NOW + SKEW_MS, 'due', id, rec.box, '0')
      note('message.parked', 'm', id, 'to', rec.to)
    else
      rec.attempt = rec.attempt + 1
      redis.call('HSET', key, 'state', 'delivered', 'worker', receiver, 'attempt', rec.attempt,
        'a:' .. rec.attempt, cjson.encode({started_at = NOW, worker = receiver}),
        'delivered_at', rec.delivered_at or NOW)
      redis.call('HINCRBY', M.queues, 'running ' .. string.match(rec.box, '^[^/]+'), 1)
      forget('due', id, rec.box, '0')
      if lease > 0 then
        redis.call('HSET', key, 'lease_until', whole(NOW + lease))
        at(NOW + lease, 'lease', id, rec.box, rec.attempt)
      end
      if ring ~= '' then
        redis.call('HSET', key, 'ring', ring)
        redis.call('HSET', M.held, ring, id)
      end
      note('message.delivered', 'm', id, 'to', rec.to, 'a', rec.attempt)
      if rec.task then
        custody(key, rec, 'accepted', rec.to)
        if ARGV[6] == 'in_progress' then custody(key, rec, 'in_progress', rec.to) end
      end
      rec.state = 'delivered'
      return delivery(rec)
    end
  end
  if wanted ~= '' then return nil end
end
