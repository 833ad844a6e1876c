-- Purpose: the next step for a process that has just ended one, without a way through the broker's consumer. Put behind
--          _claim.lua. A step that is taken off a queue here is claimed in the same script, so that nothing holds a
--          message which nobody has.
-- Cost: as _claim, and O(agents * priorities).
local MOST_VOID = 20   -- messages that lead to nothing, in one script
local STEP = '^{"headers":{"lang":"py","task":"orchestrator%.run_step","id":"([^:"]+):([^"]+)"'
local WORDS = {[0] = 'emergency', 'urgent', 'high', 'medium', 'low'}

local function list_of(agent, rank) return STEM .. agent .. (rank > 0 and BETWEEN .. 2 * rank or '') end

-- Whether something more urgent than this queue waits for its agent.
local function overtaken(queue)
  local agent, priority = string.match(queue, '^(%S+) (%S+)$')
  for rank = 0, RANKS[priority] - 1 do
    if redis.call('EXISTS', list_of(agent, rank)) == 1 then return true end
  end
  return false
end

-- Leave a wake-up for the next consumer if there is work, none if there is not.
local function settle_wakes(agents)
  for _, agent in ipairs(agents) do
    local more = false
    for rank = 0, 4 do more = more or redis.call('EXISTS', list_of(agent, rank)) == 1 end
    if more then awaken(STEM .. agent) else redis.call('DEL', STEM .. agent .. BETWEEN .. 'wake') end
  end
end

-- The most urgent step that waits for one of these agents; nil if there is none, or if something else is more urgent:
-- a message for an agent, or a step with a time limit, which only the consumer can give to a process.
local function take(agents)
  local found
  for _ = 1, MOST_VOID do
    local text, list
    for rank = 0, 4 do
      for _, agent in ipairs(agents) do
        if not text then
          list = list_of(agent, rank)
          text = redis.call('LINDEX', list, -1)
        end
      end
    end
    local run_id, id = string.match(text or '', STEP)
    if not id then break end
    enter(run_id)
    local known = PLAN and redis.call('HEXISTS', STEPS, id) == 1
    if known and node(id).timeout_ms then break end
    redis.call('LTRIM', list, 0, -2)
    parent = string.match(text, '"parent_id":"[^:"]+:([^"]+)"')
    found = known and claim(id)
    if found then break end
  end
  settle_wakes(agents)
  return found
end
