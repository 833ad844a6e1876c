-- Purpose: end an attempt, with the reply and whatever else the handler sent. delivered -> acknowledged | failed |
--          dead | pending (a retry); pending -> failed (a handoff that is declined)
-- KEYS: as _message, 10 message, 11 inbox, 12 knock, 13 queue, 14 its wake, 15 bell, then nine for each message sent.
-- ARGV: 1 options, 2 id, 3 attempt (0: whichever), 4 receiver, 5 outcome (a state, or declined), 6 delay ms of the
--       retry, 7 error (JSON or ''), 8 result of a handoff (JSON or ''), 9 ring, 10 how many are sent, then four each.
-- Returns: {1, ring to send, what `post` returns ...}; {0, state, receiver} not held by the receiver (what
--          an attempt answers too late is noted as superseded); {-1, agent}
--          unknown recipient; {-2, message} no such message to reply to; {-6, message, agent} only
--          this agent may reply; {-3} no such message.
-- Cost: O(messages sent).
local key, outcome = KEYS[10], ARGV[5]
local failure = ARGV[7] ~= '' and ARGV[7] or nil
local rec = load(key)
if not rec then return {-3} end
local declined = outcome == 'declined'
if declined then
  if rec.state ~= 'pending' or rec.handoff ~= 'offered' then return {0, rec.handoff or rec.state, rec.worker or ''} end
elseif rec.state ~= 'delivered' or rec.worker ~= ARGV[4] or (ARGV[3] ~= '0' and rec.attempt ~= ARGV[3]) then
  local field = 'a:' .. ARGV[3]
  local entry = rec[field] and cjson.decode(rec[field])
  if entry and entry.worker == ARGV[4] then
    if entry.outcome then return {1, ''} end   -- told again, because no answer came
    entry.superseded = outcome
    redis.call('HSET', key, field, cjson.encode(entry))
    note('message.superseded', 'm', rec.id, 'to', rec.to, 'a', ARGV[3])
  end
  return {0, rec.state, rec.worker or ''}
end
local wrong = refused(tonumber(ARGV[10]), 16, 11)
if wrong then return wrong end
local send = ''
if declined then
  redis.call('ZREM', KEYS[11], rec.id)
  custody(key, rec, 'declined', rec.from, failure and cjson.decode(failure).message)
  conclude_message(key, rec, 'failed', failure, KEYS[15])
  redis.call('ZREM', M.dead, rec.id)
  redis.call('PEXPIRE', key, M.options.retain)
else
  end_attempt(key, rec, failure, outcome)
  if failure then redis.call('HINCRBY', key, 'failures', 1) end
  if outcome == 'pending' then
    rec.state = 'pending'
    redis.call('HSET', key, 'state', 'pending', 'due_at', whole(NOW + ARGV[6]))
    note('message.retrying', 'm', rec.id, 'to', rec.to, 'a', rec.attempt)
    if rec.task then custody(key, rec, 'offered', rec.from) end
    ring_bell(rec, KEYS[15])
    if tonumber(ARGV[6]) > 0 then
      at(NOW + ARGV[6], 'due', rec.id, rec.box, '0')
    else
      send = admit(rec, rec.id, {KEYS[11], KEYS[12], KEYS[13], KEYS[14]}, ARGV[9])
    end
  else
    if ARGV[8] ~= '' then redis.call('HSET', key, 'result', ARGV[8]) end
    if rec.task then
      local good = outcome == 'acknowledged'
      custody(key, rec, good and 'completed' or 'failed', good and rec.to or rec.from)
    end
    conclude_message(key, rec, outcome, failure, KEYS[15])
  end
end
return {1, send, unpack(post_all(tonumber(ARGV[10]), 16, 11))}
