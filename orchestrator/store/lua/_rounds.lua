-- Purpose: what is left of a round of a loop that is over. Cost: O(items of the step).

-- Forget a step of the round that is over, except what the next one reads of it and what may have to be undone.
local function wipe(name)
  local old, about, _, suffix = record(name), node(name), split(name)
  if old then
    redis.call('HSET', STEPS, '#a' .. name, (old.attempt or old.before or 0) .. ' ' .. ((old.turn or 0) + 1))
    if old.undo then
      redis.call('HSET', STEPS, name .. '~' .. old.undo, cjson.encode(old))
      local output = redis.call('HGET', OUTPUTS, name)
      if output then redis.call('HSET', OUTPUTS, name .. '~' .. old.undo, output) end
      local item = 'i:' .. (about.each or about.kind == 'foreach' and split(name) or '') .. suffix
      local value = redis.call('HGET', OUTPUTS, item)
      if value then redis.call('HSET', OUTPUTS, item .. '~' .. old.undo, value) end
    end
    for i = 0, (old.n or 0) - 1 do
      local index = '[' .. i .. ']'
      wipe(name .. index)
      for _, step in ipairs(about.body or {}) do wipe(step .. suffix .. index) end
      redis.call('HDEL', OUTPUTS, 'i:' .. name .. index)
    end
  end
  redis.call('HDEL', STEPS, name, '#' .. name, '#' .. name .. '!f', '#' .. name .. '!s', '#' .. name .. '!g')
  redis.call('HDEL', OUTPUTS, name)
end
