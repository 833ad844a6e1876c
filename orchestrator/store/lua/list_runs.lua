-- Purpose: a page of the runs, the newest first, of those that are asked for. Entries of runs past their retention are
--          dropped on the way. Changes nothing else.
-- KEYS: 1 runs zset. ARGV: 1 what the key of a run starts with, 2 how many newer ones were looked at, 3 how many to look
--       at, 4 state ('': any), 5 workflow ('': any), then the fields of the run hash that are wanted, the
--       state and the workflow first.
-- Returns: {how many were looked at that are still there, 1 if more are behind them, run id, {value, ...}, ...}.
-- Cost: O(runs looked at). Makes keys by itself: which runs, it finds out.
local stem, state, workflow = ARGV[1], ARGV[4], ARGV[5]
local all = state == '' and workflow == ''
local ids = redis.call('ZREVRANGE', KEYS[1], ARGV[2], ARGV[2] + ARGV[3] - 1)
local gone, found = {}, {0, #ids == tonumber(ARGV[3]) and 1 or 0}
for _, id in ipairs(ids) do
  local fields = redis.call('HMGET', stem .. id, unpack(ARGV, 6, all and #ARGV or 7))
  if not fields[1] then
    gone[#gone + 1] = id
  elseif all or (state == '' or fields[1] == state) and (workflow == '' or fields[2] == workflow) then
    found[#found + 1] = id
    found[#found + 1] = all and fields or redis.call('HMGET', stem .. id, unpack(ARGV, 6))
  end
end
if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end
found[1] = #ids - #gone
return found
