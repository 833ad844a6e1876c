-- Purpose: what the transitions of messages share.
-- KEYS from base + 1: message timers zset, keeper's wake list, rings zset, queues hash, journal stream, doors hash,
--       presence zset, held hash, dead zset.
-- ARGV[opt]: JSON {retain: ms a finished message is kept, journal: entries kept, lease: ms until an agent is offline}.
-- Cost: O(log n) a message.
local BELL_MS, RANK = 60000, 1e15   -- RANK: places of one priority

-- M: the keys and options of this call. base, opt: where they stand; see above.
local function with_messages(base, opt)
  M = {
    timers = KEYS[base + 1], wake = KEYS[base + 2], rings = KEYS[base + 3], queues = KEYS[base + 4],
    journal = KEYS[base + 5], doors = KEYS[base + 6], presence = KEYS[base + 7], held = KEYS[base + 8],
    dead = KEYS[base + 9], specs = {}, options = ARGV[opt] and ARGV[opt] ~= '' and cjson.decode(ARGV[opt]) or {},
  }
end

-- The beginning of a transition of messages.
local function open_messages(keys, argv)
  open_call(keys, argv)
  with_messages(0, 1)
end

local function whole(number) return string.format('%.0f', number) end

local function note(name, ...)
  redis.call('XADD', M.journal, 'MAXLEN', '~', M.options.journal, '*', 'e', name, ...)
end

local function at(due, ...)
  redis.call('ZADD', M.timers, due, table.concat({...}, ' '))
  if due - NOW < SOON_MS then
    redis.call('LPUSH', M.wake, '1')
    redis.call('LTRIM', M.wake, 0, 0)
  end
end

local function forget(...) redis.call('ZREM', M.timers, table.concat({...}, ' ')) end

local TEXTS = {'id', 'state', 'box', 'from', 'to', 'type', 'priority', 'place', 'envelope', 'body', 'attempt',
  'created_at'}
local NUMBERS = {'attempt', 'created_at', 'failures', 'losses', 'schema', 'expires_at', 'due_at', 'lease_until',
  'awaited_until'}

-- Whether a record has what the transitions rely on; not if somebody else has written it.
local function is_sound(rec)
  for _, name in ipairs(TEXTS) do
    if not rec[name] then return false end
  end
  for _, name in ipairs(NUMBERS) do
    if rec[name] and (#rec[name] > 15 or not string.find(rec[name], '^%d+$')) then return false end
  end
  local readable, chain = pcall(cjson.decode, rec.custody or '[]')
  return readable and type(chain) == 'table' and string.find(rec.box, '^[^/]') ~= nil
end

-- The fields of a message as a table; nil if there is no such message, or what is there is none.
local function load(key)
  local flat, rec = redis.pcall('HGETALL', key), {}
  if flat.err or #flat == 0 then return nil end
  for i = 1, #flat, 2 do rec[flat[i]] = flat[i + 1] end
  return is_sound(rec) and rec or nil
end

local function ring_bell(rec, bell)
  if rec.watched then
    redis.call('XADD', bell, 'MAXLEN', 1, '*', 's', rec.state)
    redis.call('PEXPIRE', bell, BELL_MS)
  end
end

-- Call for somebody who takes messages from a box. Returns the ring that must still be sent, or ''.
-- place: {inbox, knock, queue, wake of the queue}; ring: the Celery message, '' where the broker is another server.
local function call_for(rec, id, place, ring)
  if redis.call('HGET', M.doors, rec.box) ~= 'worker' then
    awaken(place[2])
    return ''
  end
  local queue = string.match(rec.box, '^[^/]+') .. ' ' .. rec.priority
  redis.call('HSETNX', M.queues, 'mark ' .. queue, '0')
  local member = queue .. ' ' .. SEQ .. ' ' .. rec.box .. ' ' .. id
  redis.call('ZADD', M.rings, 0, member)
  if ring == '' then return member end
  redis.call('LPUSH', place[3], (string.gsub(ring, '@SEQ@', SEQ)))
  awaken(place[4])
  return ''
end

-- A message may be claimed now.
local function admit(rec, id, place, ring)
  redis.call('ZADD', place[1], rec.place, id)
  return call_for(rec, id, place, ring)
end

-- One more entry in a handoff's chain of custody; owner changes hands.
local function custody(key, rec, state, owner, reason)
  local chain = cjson.decode(rec.custody or '[]')
  chain[#chain + 1] = {at = NOW, state = state, owner = owner, reason = reason}
  rec.handoff, rec.custody = state, cjson.encode(chain)
  if rec.owner ~= owner then rec.previous_owner, rec.owner = rec.owner, owner end
  redis.call('HSET', key, 'handoff', state, 'custody', rec.custody, 'owner', owner,
    'previous_owner', rec.previous_owner or '')
  local word = state == 'in_progress' and 'started' or state
  note('handoff.' .. word, 'h', rec.id, 'from', rec.from, 'to', rec.to, 'agent', owner, 'task', rec.task)
end

-- Mistakes in what is to be stored, found before anything is; `post` goes on with what was read here. Nine keys and four arguments a message.
local function refused(n, key, arg)
  for i = 0, n - 1 do
    local spec = cjson.decode(ARGV[arg + 4 * i])
    M.specs[arg + 4 * i] = spec
    if not spec.open and redis.call('HEXISTS', M.doors, spec.box) == 0 then return {-1, spec.to} end
    spec.route = not spec.routed and redis.call('HGET', M.doors, 'route ' .. spec.box)
    if spec.route and cjson.decode(spec.route).mode == 'tmux' then return {-4, spec.to, spec.route} end
    if spec.reply then
      local asked = redis.call('HGET', KEYS[key + 9 * i + 7], 'to')
      if not asked then return {-2, spec.reply} end
      if asked ~= spec.from then return {-6, spec.reply, asked} end
    end
  end
end

-- A message that others have led to keeps the pace of its conversation. Returns when it may be delivered, or nil: now.
-- spec.pace: {key: string with TTL, when the conversation may go on at its pace; every: ms a message; ahead: ms that
-- it may be ahead of its pace}. The script makes no key by itself that is not in the spec.
local function in_pace(spec)
  local pace = spec.pace
  if not pace then return nil end
  local free = math.max(NOW, tonumber(redis.call('GET', pace.key) or 0))
  redis.call('SET', pace.key, whole(free + pace.every), 'PX', whole(free + pace.every - NOW))
  local due = free + pace.every - pace.ahead
  return due > NOW and due or nil
end

local function answer_to(spec, rec, original, bell)
  local asked = load(original)
  rec.late = asked.awaited_until and NOW > tonumber(asked.awaited_until) and '1' or nil
  if rec.late then redis.call('HSET', original, 'late_reply', spec.id) end
  if not asked.reply then redis.call('HSET', original, 'reply', spec.id) end
  note('message.replied', 'm', spec.reply, 'reply', spec.id)
  ring_bell(asked, bell)
  return asked.awaited_until and not rec.late and tonumber(asked.awaited_until) or nil
end

-- - -> pending | expired, of what was not refused. KEYS from key: message, inbox, knock, queue, wake, idempotency, thread, answered message,
-- its bell. ARGV from arg: spec (JSON), envelope, body, ring.
-- Returns {id, state, recipient online, ring to send, known before, route or ''}.
local function post(key, arg)
  local spec = M.specs[arg]
  if redis.call('EXISTS', KEYS[key]) == 1 then   -- the answer was lost, or somebody sends again what he has recorded
    redis.call('HINCRBY', KEYS[key], 'duplicates', 1)
    return {spec.id, 'known', 0, '', 1, ''}
  end
  if spec.idem then
    local known = redis.call('GET', KEYS[key + 5])
    if known then return {known, 'known', 0, '', 1, ''} end
    redis.call('SET', KEYS[key + 5], spec.id, 'PX', spec.idem)
  end
  local online = NOW - tonumber(redis.call('ZSCORE', M.presence, spec.to) or 0) < M.options.lease
  local rec = {
    id = spec.id, state = 'pending', box = spec.box, to = spec.to, from = spec.from, type = spec.type,
    priority = spec.priority, created_at = NOW, attempt = 0, envelope = ARGV[arg + 1], body = ARGV[arg + 2],
    place = whole(spec.rank * RANK + redis.call('HINCRBY', M.queues, 'sent', 1)),
    expires_at = spec.ttl and NOW + spec.ttl or nil, task = spec.task, once = spec.once, watched = spec.watched,
    awaited_until = spec.awaited and NOW + spec.awaited or nil, schema = spec.schema, signature = spec.signature,
  }
  if spec.reply and not rec.expires_at and redis.call('HEXISTS', M.doors, spec.box) == 0 then
    rec.expires_at = NOW + M.options.retain   -- nobody has registered the name; it may still ask with `inbox`
  end
  local due, paced = spec.at or (spec.delay and NOW + spec.delay), in_pace(spec)
  if paced then due = math.max(due or 0, paced) end
  if spec.reply then due = answer_to(spec, rec, KEYS[key + 7], KEYS[key + 8]) or due end
  local fields = {}
  for name, value in pairs(rec) do
    fields[#fields + 1] = name
    fields[#fields + 1] = type(value) == 'number' and whole(value) or value
  end
  redis.call('HSET', KEYS[key], unpack(fields))
  if spec.thread then
    redis.call('ZADD', KEYS[key + 6], string.format('%.3f', SEQ / 1000), spec.id)
    redis.call('ZREMRANGEBYSCORE', KEYS[key + 6], '-inf', whole(NOW - 7 * spec.thread))
    redis.call('PEXPIRE', KEYS[key + 6], spec.thread)
  end
  note('message.sent', 'm', spec.id, 'from', spec.from, 'to', spec.to, 'type', spec.type, 'priority', spec.priority)
  if spec.task then custody(KEYS[key], rec, 'offered', spec.from) end
  if spec.transient and not online then
    redis.call('HSET', KEYS[key], 'state', 'expired', 'finished_at', NOW, 'reason', 'the recipient is offline')
    redis.call('PEXPIRE', KEYS[key], M.options.retain)
    note('message.expired', 'm', spec.id, 'to', spec.to)
    return {spec.id, 'expired', 0, '', 0, ''}
  end
  if rec.expires_at then at(rec.expires_at, 'ttl', spec.id, spec.box, '0') end
  local send = ''
  if due and due > NOW then
    redis.call('HSET', KEYS[key], 'due_at', whole(due))
    at(due, 'due', spec.id, spec.box, '0')
  else
    send = admit(rec, spec.id, {KEYS[key + 1], KEYS[key + 2], KEYS[key + 3], KEYS[key + 4]}, ARGV[arg + 3])
  end
  return {spec.id, 'pending', online and 1 or 0, send, 0, spec.route or ''}
end

local function post_all(n, key, arg)
  local posted = {}
  for i = 0, n - 1 do posted[#posted + 1] = post(key + 9 * i, arg + 4 * i) end
  return posted
end

-- The end of an attempt, however it ended.
local function end_attempt(key, rec, failure, outcome)
  local id, n = rec.id, rec.attempt
  forget('lease', id, rec.box, n)
  redis.call('HINCRBY', M.queues, 'running ' .. string.match(rec.box, '^[^/]+'), -1)
  if rec.ring then redis.call('HDEL', M.held, rec.ring) end
  redis.call('HDEL', key, 'worker', 'lease_until', 'ring')
  local entry = cjson.decode(rec['a:' .. n])
  entry.ended_at, entry.outcome = NOW, outcome
  if failure then entry.error = cjson.decode(failure) end
  redis.call('HSET', key, 'a:' .. n, cjson.encode(entry))
end

-- pending | delivered -> acknowledged | failed | expired | dead
local function conclude_message(key, rec, state, failure, bell)
  rec.state = state
  redis.call('HSET', key, 'state', state, 'finished_at', NOW)
  if failure then redis.call('HSET', key, 'error', failure) end
  forget('ttl', rec.id, rec.box, '0')
  forget('due', rec.id, rec.box, '0')
  if state == 'dead' or state == 'failed' then
    redis.call('ZADD', M.dead, NOW, rec.id)
  else
    redis.call('PEXPIRE', key, M.options.retain)
  end
  note('message.' .. state, 'm', rec.id, 'from', rec.from, 'to', rec.to, 'a', rec.attempt)
  ring_bell(rec, bell)
end
