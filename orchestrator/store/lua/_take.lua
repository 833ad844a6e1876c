-- Purpose: the next step for a process that has just ended one, without a way through the broker's consumer. A
--          step that is taken off a queue here is claimed in the same script, so that nothing holds a message which
--          nobody has.
-- Cost: as _claim, and O(agents * priorities).
local MOST_VOID = 20   -- messages that lead to nothing, in one script
local STEP = '^{"headers":{"lang":"py","task":"orchestrator%.run_step","id":"([^:"]+):([^"]+)"'

local function list_of(agent, rank) return STEM .. agent .. (rank > 0 and BETWEEN .. 2 * rank or '') end

-- Whether something more urgent than this queue waits for its agent.
local function overtaken(queue)
  local agent, priority = string.match(queue, '^(%S+) (%S+)$')
  local rank, lists = RANKS[priority], {}
  for above = 0, rank - 1 do lists[above + 1] = list_of(agent, above) end
  return rank > 0 and redis.call('EXISTS', unpack(lists)) > 0
end

-- Leave a wake-up for the next consumer if there is work, none if there is not.
local function settle_wakes(agents)
  for _, agent in ipairs(agents) do
    local lists, wake = {}, wake_of(STEM .. agent)
    for rank = 0, 4 do lists[rank + 1] = list_of(agent, rank) end
    if redis.call('EXISTS', unpack(lists)) > 0 then awaken(wake) else redis.call('DEL', wake) end
  end
end

-- The most urgent message of Celery's for one of these agents, and its list.
local function head_of(agents)
  for rank = 0, 4 do
    for _, agent in ipairs(agents) do
      local list = list_of(agent, rank)
      local text = redis.call('LINDEX', list, -1)
      if text then return text, list end
    end
  end
end

-- The most urgent step that waits for one of these agents; nil if there is none, or if something else is more urgent:
-- a message for an agent, or a step with a time limit, which only the consumer can give to a process.
local function take(agents)
  local found
  for _ = 1, MOST_VOID do
    local text, list = head_of(agents)
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
