-- Purpose: which message is the next one, for claim_message. KEYS and ARGV: as there.

-- What the receiver gets.
local function delivery(rec)
  return {rec.id, tonumber(rec.attempt), tonumber(rec.failures or 0), rec.envelope, rec.body, tonumber(rec.created_at),
    rec.late or '', rec.box, rec.task or '', rec.from, rec.to, rec.type, rec.priority}
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

local function next_message()
  local best, place, from
  for i = 11, #KEYS do
    local head = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
    if head[2] and (not place or tonumber(head[2]) < place) then best, place, from = head[1], tonumber(head[2]), KEYS[i] end
  end
  return best and fair(from, best, place)
end
