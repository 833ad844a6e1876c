-- Purpose: give the next message to one receiver. KEYS up to 10 and ARGV 2, 3 and 6 to 9: as claim_message.

-- What the receiver gets.
local function delivery(rec)
  return {rec.id, tonumber(rec.attempt), tonumber(rec.failures or 0), rec.late or '', NOW, rec.from, rec.to, rec.type,
    rec.priority, rec.box, rec.task or '', rec.envelope, rec.body, rec.signature or '', tonumber(rec.created_at)}
end

-- When less urgent messages were passed over for long: the message that has waited longest, whatever its priority.
local function oldest(inbox, rank)
  local found, least
  for level = rank, 4 do
    local low, high = whole(level * RANK), '(' .. whole((level + 1) * RANK)
    local head = redis.call('ZRANGEBYSCORE', inbox, low, high, 'WITHSCORES', 'LIMIT', 0, 1)
    local place = head[2] and head[2] - level * RANK
    if place and (not least or place < least) then found, least = head[1], place end
  end
  return found
end

local function fair(inbox, id, place)
  local rank, last = math.floor(place / RANK), redis.call('ZREVRANGE', inbox, 0, 0, 'WITHSCORES')
  local field = 'passed ' .. inbox
  if math.floor(last[2] / RANK) == rank then
    redis.call('HDEL', M.queues, field, field .. ' since')
    return id
  end
  redis.call('HSETNX', M.queues, field .. ' since', NOW)
  local passed = redis.call('HINCRBY', M.queues, field, 1)
  if rank == 0 or passed < tonumber(ARGV[7]) then return id end
  if NOW - redis.call('HGET', M.queues, field .. ' since') < tonumber(ARGV[8]) then return id end
  redis.call('HSET', M.queues, field, 0)
  return oldest(inbox, rank)
end

local function next_message(inboxes)
  local best, place, from
  for _, inbox in ipairs(inboxes) do
    local head = redis.call('ZRANGE', inbox, 0, 0, 'WITHSCORES')
    if head[2] and (not place or tonumber(head[2]) < place) then best, place, from = head[1], tonumber(head[2]), inbox end
  end
  return best and fair(from, best, place)
end

-- What lies in an inbox and is no message is taken out of the way. Whether there was something to keep.
local function is_junk(key, rec, id)
  if (rec and rec.id == id) or redis.call('TYPE', key).ok ~= 'hash' then return false end
  redis.call('HSET', key, 'state', 'failed', 'reason', 'is no message')
  redis.call('PEXPIRE', key, M.options.retain)
  return true
end

-- The most urgent message of these inboxes, or a certain one (wanted); ring: the one that came for it, or ''.
-- pending -> delivered. Returns what `delivery` does, {id} of what is no message, or nil.
local function give(inboxes, ring, wanted)
  local receiver, lease = ARGV[2], tonumber(ARGV[3])
  if ring ~= '' then
    redis.call('ZREM', M.rings, ring)
    local queue, seq = string.match(ring, '^(%S+ %S+) (%S+)')
    if (redis.call('HGET', M.queues, 'mark ' .. queue) or '0') < seq then
      redis.call('HSET', M.queues, 'mark ' .. queue, seq)
    end
  end
  while true do
    local id = wanted ~= '' and wanted or next_message(inboxes)
    if not id then return nil end
    for _, inbox in ipairs(inboxes) do redis.call('ZREM', inbox, id) end
    local key = KEYS[10] .. id
    local rec = load(key)
    if is_junk(key, rec, id) then return {id} end
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
end
