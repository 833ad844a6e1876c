-- Purpose: the most urgent step that waits, for a process that can run one now. pending -> running
-- KEYS: as _lib, of no run. ARGV: 1 '', 2 worker, 3 lease ms, 4 process, 5 the newest schema that it understands, 6 1: asked
--       again, because no answer came, 7... agents.
-- Returns: what `claimed` returns; nil: nothing for this process.
-- Cost: as _take.
by_arguments(2)
local found = ARGV[6] == '1' and held() or take({unpack(ARGV, 7)})
write_counts()
return found
