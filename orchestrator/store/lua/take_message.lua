-- Purpose: the most urgent message that waits, for a process that can handle one now, past the broker's consumer. Its ring
--          is taken off the queue in the same script. pending -> delivered
-- KEYS: as _message, 10 what the key of a message starts with.
-- ARGV: 1 options, 2 receiver, 3 lease ms, 4 what the broker's lists for agents start with, 5 what the key of an inbox
--       starts with, 6 to 9 as claim_message, 10 1: asked again, because no answer came, 11 process, 12 key of what the
--       processes of the receiver hold, 13... agents.
-- Returns: as claim_message; nil: nothing waits, or a step is more urgent.
-- Cost: O(log n), and O(agents * priorities).
local RING = '^{"body":"%[%[\\"([^\\"]+)\\",\\"([^\\"]+)\\"%],{},{}%]".-"task":"orchestrator%.ring"'
STEM = ARGV[4]
if ARGV[10] == '1' then
  local id = string.match(redis.call('HGET', ARGV[12], ARGV[11]) or '', '^m (%S+)$')
  local rec = id and load(KEYS[10] .. id)
  if rec and rec.state == 'delivered' and rec.worker == ARGV[2] then return delivery(rec) end
end
local agents, found = {unpack(ARGV, 13)}, nil
for _ = 1, MOST_VOID do
  local text, list = head_of(agents)
  local box, ring = string.match(text or '', RING)
  if not box then break end
  redis.call('LTRIM', list, 0, -2)
  found = give({ARGV[5] .. box}, ring, '')
  if found then
    if found[2] then hold(ARGV[12], ARGV[11], 'm ' .. found[1], ARGV[3]) end
    break
  end
end
settle_wakes(agents)
return found
