-- Purpose: store messages, all of them or none. - -> pending (expired: not persistent, and nobody is there)
-- KEYS: as _message, then nine for each message, as `post`. ARGV: 1 options, 2 how many, then four for each.
-- Returns: {1, {id, state, recipient online, ring to send, known before}, ...}; {-1, agent} unknown recipient;
--          {-2, message} no such message to reply to; {-6, message, agent} only this agent may reply; {-5, figures} there is no room.
-- Cost: O(messages).
local crowded = no_room()
if crowded then return {-5, crowded} end
local wrong = refused(tonumber(ARGV[2]), 10, 3)
if wrong then return wrong end
return {1, unpack(post_all(tonumber(ARGV[2]), 10, 3))}
