-- Purpose: give a step to one process under a lease, when its message came. pending -> running | waiting
-- KEYS: as _lib. ARGV: 2 step id, 3 worker, 4 lease ms, 5 process (0: not told), 6 the newest schema that it understands,
--       7 1: asked again, because no answer came.
-- Returns: what `claimed` returns; nil: not to be had. A message that is late or doubled ends here.
-- Cost: as _claim.
by_arguments(3)
local id = ARGV[2]
if ARGV[7] == '1' then
  local rec = record(id)
  if rec and rec.state == 'running' and rec.worker == by.worker and rec.pid == by.pid then
    return claimed(id, rec, node(id))
  end
end
local claimed_now = claim(id)
write_counts()
return claimed_now
