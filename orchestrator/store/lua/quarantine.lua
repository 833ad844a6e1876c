-- Purpose: put a message aside that nobody can read or run. queued | unacked -> quarantined
-- KEYS: 1 hash: quarantine, 2 hash `unacked`, 3 zset `unacked_index`. ARGV: 1 id, 2 entry (JSON), 3 delivery tag.
-- Returns nothing. Cost: O(1).
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now) .. ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[3])
