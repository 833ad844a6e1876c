-- Put a message on a queue and leave a wake-up for one consumer that waits.
-- KEYS: 1 list: the queue at one priority; 2 list: the queue's wake-ups, never more than one
-- ARGV: 1 message; 2 lifetime of a wake-up in ms
-- State: - -> queued. Returns nothing. Cost: O(1)
redis.call('LPUSH', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('LPUSH', KEYS[2], '1')
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
