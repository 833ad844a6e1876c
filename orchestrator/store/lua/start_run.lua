-- Purpose: a run that waited for a place in its slot has one. pending stays pending
-- KEYS: as _lib. ARGV: none more.
-- Returns: {1, priority, ready, decide, elsewhere}; {0} it has no place, has begun, or is paused.
-- Cost: O(entry steps).
if run.state == 'paused' then return {0} end   -- the timer stays, and calls again until the run goes on
drop_timer('decide', RUN_ID, '$start', '0')
local about = redis.call('HMGET', RUN, 'queued', 'slot')
if run.state ~= 'pending' or not about[1] then return {0} end
if not redis.call('ZSCORE', PREFIX .. 'slots:' .. about[2], RUN_ID) then return {0} end
redis.call('HDEL', RUN, 'queued')
begin_all(cjson.decode(redis.call('HGET', PLAN, '$entry')), '')
conclude()
return advance()
