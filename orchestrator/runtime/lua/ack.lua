-- Forget a delivered message.
-- KEYS: 1 hash `unacked`; 2 zset `unacked_index`
-- ARGV: 1 delivery tag
-- State: unacked -> -. Returns nothing; a tag that is gone already changes nothing. Cost: O(log n)
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
