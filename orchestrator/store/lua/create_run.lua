-- Purpose: record a new run and find its first steps, unless it has to wait for others of its kind. -> pending
-- KEYS: as _lib, 3 idempotency key (string; the run key again when there is none), 4 the steps of the parent (the run
--       key again when there is none).
-- ARGV: 2 idempotency ttl ms (0: no key), 3 run time-out ms (0: none), 4 slot ('': none), 5 runs at a time in it,
--       6 1: do not wait for a place, 2: say who waits, too, 7 step of the parent, 8 how many kept steps, then for each: id, record, output;
--       then field, value pairs of the run hash.
-- Returns: {1, priority, ready, decide, elsewhere} created; {2, oldest holder, runs that wait before it, ...} it waits for its slot;
--          {0, run id} the key was used before; {-1} a plan is not stored; {-2, holder, ...} no place in its slot;
--          {-3} the parent does not wait for it; {-4, figures} there is no room.
-- Cost: O(inputs + entry steps + kept steps).
local slot, kept = ARGV[4], tonumber(ARGV[8])
local MOST = 999   -- a script returns no more than some thousand values
if run.state then return {0, RUN_ID} end
if tonumber(ARGV[2]) > 0 then
  local known = redis.call('GET', KEYS[3])
  if known then return {0, known} end
end
local crowded = KEYS[4] == RUN and no_room()   -- a child run belongs to work that was accepted
if crowded then return {-4, crowded} end
local first = 9 + 3 * kept
local about = {}
for i = first, #ARGV, 2 do about[ARGV[i]] = ARGV[i + 1] end
PLAN = PREFIX .. 'plan:' .. about.plan
local plan = redis.call('HMGET', PLAN, '$entry', '$count', '$children')
local pinned = cjson.decode(plan[3] or '[]')
pinned[#pinned + 1] = about.plan
local stem = PREFIX .. 'plan:'
for _, hash in ipairs(pinned) do
  -- Stored, and with messages for the broker of now.
  if redis.call('HGET', stem .. hash, '$stem') ~= STEM then return {-1} end
end
if about.parent then
  local waiting = redis.call('HGET', KEYS[4], ARGV[7])
  waiting = waiting and cjson.decode(waiting)
  if not waiting or waiting.state ~= 'waiting' or waiting.child ~= RUN_ID then return {-3} end
  redis.call('ZREM', TIMERS, 'decide ' .. about.parent .. ' ' .. ARGV[7] .. ' 0')
end
local slots = PREFIX .. 'slots:' .. slot
local waits = slot ~= '' and redis.call('ZCARD', slots) >= tonumber(ARGV[5])
if waits then
  -- A place is given back by the script that ends a run; one whose run is gone all the same is taken back here.
  for _, holder in ipairs(redis.call('ZRANGE', slots, 0, -1)) do
    local state = redis.call('HGET', PREFIX .. 'run:' .. holder, 'state')
    if not state or over(state) then redis.call('ZREM', slots, holder) end
  end
  waits = redis.call('ZCARD', slots) >= tonumber(ARGV[5])
end
if waits and ARGV[6] == '1' then return {-2, unpack(redis.call('ZRANGE', slots, 0, MOST))} end
if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[3], RUN_ID, 'PX', ARGV[2]) end
for _, hash in ipairs(pinned) do
  redis.call('PERSIST', stem .. hash)
  redis.call('HINCRBY', stem .. hash, 'live', 1)
end
local i = first
repeat   -- once, but for a run with hundreds of inputs
  local last = math.min(i + MOST - 10, #ARGV)
  redis.call('HSET', RUN, 'state', 'pending', 'created_at', NOW, 'open', plan[2], 'active', 0, unpack(ARGV, i, last))
  i = last + 1
until i > #ARGV
run.state, run.priority, run.workflow, run.schema = 'pending', about.priority, about.workflow, tonumber(about.schema or 1)
if kept > 0 then
  redis.call('HSET', RUN, 'reuse', '1')
  run.reuse = '1'
  local newest = 0
  for i = 9, first - 1, 3 do
    if ARGV[i + 1] ~= '' then redis.call('HSET', STEPS, ARGV[i], ARGV[i + 1]) end
    if ARGV[i + 2] ~= '' then redis.call('HSET', OUTPUTS, ARGV[i], ARGV[i + 2]) end
    local rec = ARGV[i + 1] ~= '' and cjson.decode(ARGV[i + 1])
    if rec and rec.undo then newest = math.max(newest, rec.undo) end
  end
  redis.call('HSET', RUN, 'done', newest)   -- what is done from now on is undone before what was kept
end
redis.call('ZADD', PREFIX .. 'runs', NOW, RUN_ID)
emit('run.created')
-- A stream begins with room for 4 KiB, more than most runs need; a copy has the room that it needs.
redis.call('COPY', EVENTS, EVENTS .. ':copy')
redis.call('RENAME', EVENTS .. ':copy', EVENTS)
if tonumber(ARGV[3]) > 0 then timer(NOW + ARGV[3], 'run', RUN_ID, '-', '0') end
if slot ~= '' then
  redis.call('HSET', RUN, 'slot', slot)
  if waits then
    local rank = string.format('%d%016.0f', RANKS[run.priority], tonumber(SEQ))
    local before = ARGV[6] == '2' and redis.call('ZRANGE', slots .. ':wait', 0, MOST) or {}
    redis.call('ZADD', slots .. ':wait', rank, RUN_ID)
    redis.call('HSET', RUN, 'queued', '1')
    emit('run.queued', nil, nil, slot)
    return {2, redis.call('ZRANGE', slots, 0, 0)[1], unpack(before)}
  end
  redis.call('ZADD', slots, SEQ, RUN_ID)
end
begin_all(cjson.decode(plan[1]), '')
if counts[RUN] then conclude() end   -- steps of it are done already
return advance()
