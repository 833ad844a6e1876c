-- Purpose: refuse new work while there is still room for what was accepted: acknowledgements, outputs, retries. A look
--          costs 10 us.
local FULL = 0.8      -- of `maxmemory`
local LOOK_MS = 20    -- that there is room is believed for so long; a flood adds less than 1 MB/ms
local looked = 0

local function figure(told, name) return tonumber(string.match(told, name .. ':(%d+)') or 0) end

-- Why there is no room, or nil. Memory that the server does not count towards its limit (buffers) is not counted here.
local function no_room()
  if NOW >= looked and NOW < looked + LOOK_MS then return nil end
  local told = redis.pcall('INFO', 'memory')
  if type(told) ~= 'string' then return nil end   -- the user of this connection may not ask
  local limit = figure(told, '\nmaxmemory')
  local used = figure(told, '\nused_memory') - figure(told, 'mem_not_counted_for_evict')
  if limit > 0 and used >= FULL * limit then
    return string.format('%.0f of %.0f MB are used', used / 2^20, limit / 2^20)
  end
  looked = NOW
end
