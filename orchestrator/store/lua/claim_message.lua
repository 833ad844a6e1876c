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
local SKEW_MS = 5000   -- how often a message of a newer schema is offered while old workers may take it

local function claimed(rec)
  return {rec.id, tonumber(rec.attempt), tonumber(rec.failures or 0), rec.envelope, rec.body, tonumber(rec.created_at),
    rec.late or '', rec.box, rec.task or '', rec.from, rec.to, rec.type, rec.priority}
end

if ARGV[10] == '1' then
  local id = redis.call('HGET', M.held, ring)
  local rec = id and load(KEYS[10] .. id)
  if rec and rec.state == 'delivered' and rec.worker == receiver then return claimed(rec) end
end
if ring ~= '' then
  redis.call('ZREM', M.rings, ring)
  local queue, seq = string.match(ring, '^(%S+ %S+) (%S+)')
  if (redis.call('HGET', M.queues, 'mark ' .. queue) or '0') < seq then
    redis.call('HSET', M.queues, 'mark ' .. queue, seq)
  end
end

-- When less urgent messages were passed over for long: the message that has waited longest, whatever its priority.
local function oldest(inbox, rank)
  local found, least
  for level = rank, 4 do
    local low, high = whole(level * M.rank), '(' .. whole((level + 1) * M.rank)
    local head = redis.call('ZRANGEBYSCORE', inbox, low, high, 'WITHSCORES', 'LIMIT', 0, 1)
    local place = head[2] and head[2] - level * M.rank
    if place and (not least or place < least) then found, least = head[1], place end
  end
  return found
end

local function fair(inbox, id, place)
  local rank, last = math.floor(place / M.rank), redis.call('ZREVRANGE', inbox, 0, 0, 'WITHSCORES')
  local field = 'passed ' .. inbox
  if math.floor(last[2] / M.rank) == rank then
    redis.call('HDEL', M.queues, field, field .. ' since')
    return id
  end
  redis.call('HSETNX', M.queues, field .. ' since', M.now)
  local passed = redis.call('HINCRBY', M.queues, field, 1)
  if rank == 0 or passed < tonumber(ARGV[7]) then return id end
  if M.now - redis.call('HGET', M.queues, field .. ' since') < tonumber(ARGV[8]) then return id end
  redis.call('HSET', M.queues, field, 0)
  return oldest(inbox, rank)
end

local function next_message()
  local best, place, from
  for i = 11, #KEYS do
    local head = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
    if head[2] and (not place or tonumber(head[2]) < place) then best, place, from = head[1], tonumber(head[2]), KEYS[i] end
  end
  return best and fair(from, best, place)
end

while true do
  local id = wanted ~= '' and wanted or next_message()
  if not id then return nil end
  for i = 11, #KEYS do redis.call('ZREM', KEYS[i], id) end
  local key = KEYS[10] .. id
  local rec = load(key)
  if rec and rec.state == 'pending' then
    if rec.expires_at and tonumber(rec.expires_at) <= M.now then
      at(M.now, 'ttl', id, rec.box, '0')   -- the keeper tells whom it concerns
    elseif tonumber(rec.schema or 1) > tonumber(ARGV[9]) then
      redis.call('HSET', key, 'due_at', whole(M.now + SKEW_MS), 'reason', 'waits for a worker of a newer version')
      at(M.now + SKEW_MS, 'due', id, rec.box, '0')
      note('message.parked', 'm', id, 'to', rec.to)
    else
      rec.attempt = rec.attempt + 1
      redis.call('HSET', key, 'state', 'delivered', 'worker', receiver, 'attempt', rec.attempt,
        'a:' .. rec.attempt, cjson.encode({started_at = M.now, worker = receiver}))
      redis.call('HSETNX', key, 'delivered_at', M.now)
      redis.call('HINCRBY', M.queues, 'running ' .. string.match(rec.box, '^[^/]+'), 1)
      forget('due', id, rec.box, '0')
      if lease > 0 then
        redis.call('HSET', key, 'lease_until', whole(M.now + lease))
        at(M.now + lease, 'lease', id, rec.box, rec.attempt)
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
      return claimed(rec)
    end
  end
  if wanted ~= '' then return nil end
end
