-- Purpose: a signal for a run, or the answer to one step that waits for one. waiting -> succeeded | failed
-- KEYS: as _lib. ARGV: 2 signal ('': the answer is for the step), 3 step id, 4 data (JSON), 5 error (JSON; '': none),
--       6 since when the step waits, as far as whoever answers knows ('': not said).
-- Returns: {1, priority, ready, decide, elsewhere, steps it reached}; {2} nobody waits for the signal yet: it is kept;
--          {-1} no such run; {-2, state} the run is over; {-3, state or '', reason or ''} the step does not wait for a signal;
--          {-4} it waits, but began to at another time: this is an answer to an earlier question.
-- Cost: O(steps that wait for it).
local signal = ARGV[2]
if not run.state then return {-1} end
if over(run.state) then return {-2, run.state} end
local awaited = cjson.decode(redis.call('HGET', RUN, 'awaited') or '{}')
local ids = awaited[signal] or {}
if signal == '' then
  local rec = record(ARGV[3])
  if not rec or rec.state ~= 'waiting' or not rec.signal then return {-3, rec and rec.state or '', rec and rec.reason or ''} end
  if ARGV[6] ~= '' and tonumber(ARGV[6]) ~= rec.started_at then return {-4} end
  ids = {ARGV[3]}
else
  awaited[signal] = nil
  redis.call('HSET', RUN, 'awaited', cjson.encode(awaited))
end
if signal ~= '' then emit('run.signalled', nil, nil, signal) end
local reached = {}
for _, id in ipairs(ids) do
  local rec = record(id)
  if rec and rec.state == 'waiting' and rec.signal and (signal == '' or rec.signal == signal) then
    drop_timer('retry', RUN_ID, id, '0')
    rec.reason = nil
    reached[#reached + 1] = id
    if ARGV[5] ~= '' then
      fail(id, rec, ARGV[5])
    else
      redis.call('HSET', OUTPUTS, id, ARGV[4])
      succeed(id, rec, node(id))
    end
  end
end
if #reached == 0 then
  local kept = cjson.decode(redis.call('HGET', RUN, 'signals') or '{}')
  kept[signal] = kept[signal] or {}
  table.insert(kept[signal], ARGV[4])
  redis.call('HSET', RUN, 'signals', cjson.encode(kept))
end
if #reached == 0 then return {2} end
local result = advance()
result[6] = reached
return result
