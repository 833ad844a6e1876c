-- Purpose: refuse what is meant for a run that does not exist (any more). Put behind _lib.lua.
if not PLAN then return redis.error_reply('NORUN') end
