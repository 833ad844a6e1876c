-- Purpose: keep the context of a span with the run: of its own one, which is kept once, or of the newest one of a step.
-- KEYS: as _lib. ARGV: 2 step id ('': the run), 3 the context.
-- Returns: the context that is kept.
-- Cost: O(1).
if ARGV[2] ~= '' then
  redis.call('HSET', RUN, 'trace:' .. ARGV[2], ARGV[3])
  return ARGV[3]
end
redis.call('HSETNX', RUN, 'trace', ARGV[3])
return redis.call('HGET', RUN, 'trace')
