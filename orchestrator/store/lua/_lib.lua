-- Purpose: what the transitions share. The library (see scripts.py) is built once, when the server loads it, and lives on
--          from call to call: whatever belongs to one call is declared here, and set anew when the next one begins, also
--          after one that failed half way.
-- KEYS: 1 run hash, 2 what the broker's lists for agents start with; '' where the broker is another server.
-- ARGV[1]: run id. All other keys are made of these, as keys.py says: which run a limit or a queue leads to, scripts find
-- out. Time is the server's.
--
-- An id is the plan's, then one `[n]` for each foreach around it: `edit[3]` is the step `edit` for item 3, `each[3]`
-- that item of `each`. `edit~7` is a round of a loop that is over and may have to be compensated.
local RESCUE_MS = 5000   -- a decision not taken by then is taken by the keeper
local SOON_MS = 5000     -- the keeper looks at least this often by itself
-- Entries the journal keeps, the default of the setting `journal_events`: no script of a run gets the settings.
-- Where the setting is smaller, the next message trims to it.
local JOURNAL_EVENTS = 100000
local LIMIT_POLL_MS = 60000   -- a step that waits for a limit is called when a place is free; this is for the rest
local RANKS = {emergency = 0, urgent = 1, high = 2, medium = 3, low = 4}
local WAKE_MS = 60000         -- a wake-up serves consumers that block now; transport.py has the same figure
local BETWEEN = '\6\22'       -- what kombu puts between a queue and a priority

-- Of this call, see `open_call`, `open_run`, and `open_messages` of _message.lua.
local KEYS, ARGV, NOW, SEQ
local PREFIX, STEM, TIMERS, READY, QUEUES, WAKE, ENDED, JOURNAL
local RUN_ID, RUN, STEPS, OUTPUTS, EVENTS, PLAN, run   -- see `enter`
local ready, decide, elsewhere
local cancel_child   -- what a run that is cancelled asks of its children
local cause     -- the step whose end makes others ready: the parent of their messages
local onward    -- {queue}: a step of this queue need not be sent, because the process at hand takes it; see _take.lua
local counts    -- {key: {field: by}}, see `count`
local let_go    -- {holds hash, process} of an attempt that has ended
local by        -- who claims, see _claim.lua
local parent    -- of a step that is taken: the step before it
local M         -- of messages, see _message.lua

-- Nodes of plans, kept from call to call: {plan: {id: node}}. The key of a plan has the hash of what it says, so that
-- they are never outdated; nobody may change one.
local MOST_NODES = 4000   -- about 4 MB
local graphs, nodes_kept = {}, 0

-- Make a run the one that everything below is about.
local function enter(id)
  RUN_ID, RUN = id, PREFIX .. 'run:' .. id
  STEPS, OUTPUTS, EVENTS = RUN .. ':steps', RUN .. ':outputs', RUN .. ':events'
  local now = redis.call('HMGET', RUN, 'state', 'phase', 'stopping', 'priority', 'reuse', 'schema', 'plan', 'root', 'workflow')
  run = {state = now[1], phase = now[2] or 'main', stopping = now[3], priority = now[4], reuse = now[5], root = now[8],
    workflow = now[9]}
  run.schema = tonumber(now[6] or 1)   -- of the version that created it
  PLAN = now[7] and PREFIX .. 'plan:' .. now[7]
end

local function open_call(keys, argv)
  KEYS, ARGV = keys, argv
  local clock = redis.call('TIME')
  NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)
  SEQ = clock[1] .. string.format('%06d', clock[2])
  PREFIX, STEM, TIMERS, READY, QUEUES, WAKE, ENDED, JOURNAL = nil
  RUN_ID, RUN, STEPS, OUTPUTS, EVENTS, PLAN, run = nil
  ready, decide, elsewhere, counts = {}, {}, {}, {}
  cancel_child, cause, onward, let_go, by, parent, M = '$cancel', nil
end

-- The beginning of a transition of a run; of no run if the id is ''.
local function open_run(keys, argv)
  open_call(keys, argv)
  PREFIX, STEM = string.sub(keys[1], 1, -5 - #argv[1]), keys[2]
  TIMERS, READY, QUEUES = PREFIX .. 'timers', PREFIX .. 'ready', PREFIX .. 'queues'
  WAKE, ENDED, JOURNAL = PREFIX .. 'wake', PREFIX .. 'ended', PREFIX .. 'journal'
  if argv[1] ~= '' then enter(argv[1]) end
end

-- Make a transition callable. Processes of two versions may use one server: each has functions of its own.
local function transition(name, flags, callback)
  redis.register_function{function_name = name .. '_' .. VERSION, flags = flags, callback = callback}
end

local function split(id)
  if not string.find(id, '[%[~]') then return id, '' end
  return string.match(id, '^([^%[~]+)(.*)$')
end

-- The first `depth` indices of a suffix.
local function upto(at, depth)
  local taken = ''
  for index in string.gmatch(at, '%[%d+%]') do
    if depth <= 0 then break end
    taken, depth = taken .. index, depth - 1
  end
  return taken
end

local function outer(at) return string.match(at, '^(.*)%[%d+%]') end

local function record(id)
  local text = redis.call('HGET', STEPS, id)
  return text and cjson.decode(text)
end

local function save(id, rec) redis.call('HSET', STEPS, id, cjson.encode(rec)) end

local function node(id)
  local base = split(id)
  local known = graphs[PLAN] and graphs[PLAN][base]
  if not known then
    if nodes_kept >= MOST_NODES then graphs, nodes_kept = {}, 0 end
    known = cjson.decode(redis.call('HGET', PLAN, 'g:' .. base))
    graphs[PLAN] = graphs[PLAN] or {}
    graphs[PLAN][base], nodes_kept = known, nodes_kept + 1
  end
  return known
end

-- Whether the id is one item of a foreach whose graph this is.
local function is_item(id, graph)
  if graph.kind ~= 'foreach' then return false end
  local _, count = string.gsub(id, '%[', '')
  return count > (graph.depth or 0)
end

local function over(state) return state == 'succeeded' or state == 'failed' or state == 'cancelled' end

-- Whether steps of this node's part of the workflow may start now.
local function live(graph)
  return not over(run.state) and not run.stopping and (graph.phase or 'main') == run.phase
end

-- The attempts of this round; `rec.attempt` goes on from round to round, so that no answer of an older one counts.
local function tries(rec) return rec.attempt and rec.attempt - (rec.before or 0) end

-- The journal gets the name and the ids, no data. Not the progress: it would push everything else out.
-- queued: of an attempt that starts, `WAITED_MS AGENT PRIORITY`, which nothing else remembers for as long as the journal.
local function journal(name, step, attempt, queued)
  if name == 'step.progress' then return end
  local ids = {'r', RUN_ID}
  if step then ids[3], ids[4] = 's', step end
  if step and attempt then ids[5], ids[6] = 'a', attempt end
  if queued then ids[7], ids[8] = 'q', queued end
  redis.call('XADD', JOURNAL, 'MAXLEN', '~', JOURNAL_EVENTS, '*', 'e', name, unpack(ids))
end

local function emit(name, step, attempt, data, queued)
  if step and string.find(step, '.item[', 1, true) then step = string.gsub(step, '%.item%[', '[') end   -- it stands for the item
  redis.call('XADD', EVENTS, '*', 'e', name, 's', step or '', 'a', attempt or '', 'd', data or '')
  journal(name, step, attempt, queued)
end

local function wake_keeper()
  redis.call('LPUSH', WAKE, '1')
  redis.call('LTRIM', WAKE, 0, 0)
end

local function timer(due, ...)
  redis.call('ZADD', TIMERS, due, table.concat({...}, ' '))
  if due - NOW < SOON_MS then wake_keeper() end
end

local function drop_timer(...) return redis.call('ZREM', TIMERS, table.concat({...}, ' ')) end

-- Something of another run is to be decided: by whoever caused this, or by the keeper.
local function call_on(run_id, what)
  timer(NOW + RESCUE_MS, 'decide', run_id, what, '0')
  elsewhere[#elsewhere + 1] = run_id
  elsewhere[#elsewhere + 1] = what
end

-- list: of wake-ups, beside the lists of a queue.
local function awaken(list)
  if redis.call('EXISTS', list) == 0 then
    redis.call('LPUSH', list, '1')
    redis.call('PEXPIRE', list, WAKE_MS)
  end
end

-- Note what a process of a worker holds. Its heartbeats keep that; a worker killed before the first leaves no key for ever.
local function hold(holds, pid, what, lease_ms)
  if redis.call('HSET', holds, pid, what) == 1 then redis.call('PEXPIRE', holds, 3 * lease_ms) end
end

local function wake_of(queue) return queue .. BETWEEN .. 'wake' end

-- Put the Celery message of a step on its agent's queue. form: see envelopes.py.
local function send(id, queue, form)
  local agent, priority = string.match(queue, '^(%S+) (%S+)$')
  if not run.root then
    run.root = id
    redis.call('HSET', RUN, 'root', id)
  end
  local number = 2 * RANKS[priority]
  local _, at = split(id)
  local parent = cause and '"' .. RUN_ID .. ':' .. cause .. '"' or 'null'
  local known = {R = RUN_ID, A = at, P = number, U = parent, O = run.root}
  local values, cut = {}, string.find(form, '\n', 1, true)
  for i = 1, cut - 1 do values[i] = known[string.sub(form, i, i)] end
  redis.call('LPUSH', STEM .. agent .. (number > 0 and BETWEEN .. number or ''),
    string.format(string.sub(form, cut + 1), unpack(values)))
  awaken(wake_of(STEM .. agent))
end

-- A step may go to its agent now: send its message, or note it for the caller where the broker is another server. The
-- keeper sends it again if nobody claims it.
local function offer(id, rec, graph)
  rec.state, rec.ready_at = 'pending', NOW
  if run.state == 'paused' then
    rec.held, rec.seq, rec.queue = 'offer', nil, nil
    return save(id, rec)
  end
  rec.queue = rec.queue or (rec.agent or graph.agent) .. ' ' .. (graph.priority or run.priority)
  if onward and onward.queue == rec.queue and not onward.id and not graph.timeout_ms then
    onward.id, onward.rec = id, rec   -- the process that has ended the step before goes on with it
    return
  end
  rec.seq = SEQ
  redis.call('HSETNX', QUEUES, 'mark ' .. rec.queue, '0')
  redis.call('ZADD', READY, 0, rec.queue .. ' ' .. SEQ .. ' ' .. RUN_ID .. ' ' .. id)
  save(id, rec)
  local segment = rec.segment or redis.call('HGET', PLAN, 's:' .. split(id))
  if STEM ~= '' then return send(id, rec.queue, segment) end
  ready[#ready + 1] = id
  ready[#ready + 1] = segment
end

-- Another agent than the plan's runs the step from now on. segment: as `s:` of the plan, of the step on that agent.
local function assign(rec, agent, task, segment)
  rec.agent, rec.task, rec.segment, rec.queue = agent, task, segment, nil
end

-- Somebody must evaluate an expression before the run can go on here.
local function ask(id, rec)
  if rec and run.state == 'paused' then
    rec.held = 'ask'
    return save(id, rec)
  end
  timer(NOW + RESCUE_MS, 'decide', RUN_ID, id, '0')
  decide[#decide + 1] = id
end

local function withdraw(id, rec)
  if rec.seq then redis.call('ZREM', READY, rec.queue .. ' ' .. rec.seq .. ' ' .. RUN_ID .. ' ' .. id) end
end

-- Give a place under a `max` limit to the step that waits longest for it.
local function free_place(limit)
  local key = PREFIX .. 'limit:' .. limit
  local next = redis.call('ZPOPMIN', key .. ':wait')
  if next[1] then
    redis.call('SADD', key, next[1])
    redis.call('ZADD', TIMERS, NOW, 'retry ' .. next[1])
    wake_keeper()
  end
end

local function release(id, rec)
  if not rec.limited then return end
  for limit, member in pairs(rec.limited) do
    redis.call('ZREM', PREFIX .. 'limit:' .. limit .. ':wait', member)
    if redis.call('SREM', PREFIX .. 'limit:' .. limit, member) == 1 then free_place(limit) end
  end
  rec.limited = nil
end

-- The field that tells a process to interrupt an attempt which is void, where the step's record is one of a newer round.
local function void_mark(id, worker, pid) return '#x' .. worker .. ' ' .. pid .. ' ' .. id end

-- Counters go down and up again where one step follows another: what is left of it is written when the script is done.
local function count(key, field, by)
  counts[key] = counts[key] or {}
  counts[key][field] = (counts[key][field] or 0) + by
end

local function write_counts()
  for key, fields in pairs(counts) do
    for field, by in pairs(fields) do
      if by ~= 0 then redis.call('HINCRBY', key, field, by) end
    end
  end
  if let_go then redis.call('HDEL', let_go[1], let_go[2]) end
  counts, let_go = {}, nil
end

-- The end of an attempt, however it ended.
local function close_attempt(id, rec)
  release(id, rec)
  rec.reserved = nil
  if rec.worker then
    local attempt = RUN_ID .. ' ' .. id .. ' ' .. rec.attempt
    redis.call('ZREM', TIMERS, 'lease ' .. attempt, 'timeout ' .. attempt)
    count(QUEUES, 'running ' .. string.match(rec.queue, '^%S+'), -1)
    count(RUN, 'active', -1)
    -- Of an attempt that is to be interrupted the worker's heartbeat must find out.
    if not rec.stopped then let_go = {PREFIX .. 'holds:' .. rec.worker, rec.pid} end
    rec.worker, rec.pid, rec.lease_until = nil, nil, nil
  end
end

local function close(id, rec, state)
  close_attempt(id, rec)
  rec.state, rec.finished_at = state, NOW
  rec.seq, rec.queue, rec.retry_at, rec.held, rec.at_end = nil, nil, nil, nil, nil
  save(id, rec)
end

local function started()
  if run.state == 'pending' then
    run.state = 'running'
    redis.call('HSET', RUN, 'state', 'running', 'started_at', NOW)
    emit('run.started')
  end
end

local function alive(rec) return rec.state == 'pending' or rec.state == 'running' or rec.state == 'waiting' end

-- A step may start: at its agent, or once somebody has decided what it needs.
local function begin(id, rec, graph)
  if graph.dispatched then return offer(id, rec, graph) end
  rec.state, rec.ready_at = 'pending', NOW
  save(id, rec)
  ask(id, rec)
end

-- What an attempt's expressions may read, or those of a decision: {item, {input, value, ...}, {step, record, output, ...}, workflow, run's error,
-- round, {step, record, output, ...} of the round before, phase if not the main one}.
local function scope_of(id, graph, deciding)
  local _, at = split(id)
  local inputs, steps, previous, round = {}, {}, {}, ''
  local names, others = graph.reads_inputs, graph.reads
  if deciding and graph.asks then names, others = graph.asks_inputs, graph.asks end
  for _, name in ipairs(names or cjson.decode(redis.call('HGET', RUN, 'input_names'))) do
    inputs[#inputs + 1] = name
    inputs[#inputs + 1] = redis.call('HGET', RUN, 'i:' .. name)
  end
  for _, other in ipairs(others) do
    local name = other
    if other == graph.undoes then name = graph.undone .. at
    elseif graph.deep and graph.deep[other] then name = other .. upto(at, graph.deep[other]) end
    steps[#steps + 1] = other
    steps[#steps + 1] = redis.call('HGET', STEPS, name)
    steps[#steps + 1] = redis.call('HGET', OUTPUTS, name)
  end
  if graph.loop then
    round = tostring(record(graph.loop .. upto(at, graph.loop_depth)).round or 0)
    for _, other in ipairs(graph.previous) do
      local name = other .. upto(at, graph.deep and graph.deep[other] or 0)
      previous[#previous + 1] = other
      previous[#previous + 1] = redis.call('HGET', STEPS, '#p' .. name)
      previous[#previous + 1] = redis.call('HGET', OUTPUTS, 'p:' .. name)
    end
  end
  local item = false
  local round_undone = string.match(at, '~%d+$') or ''
  if is_item(id, graph) then item = redis.call('HGET', OUTPUTS, 'i:' .. id)
  elseif graph.each then item = redis.call('HGET', OUTPUTS, 'i:' .. graph.each .. upto(at, graph.depth) .. round_undone) end
  local error = graph.phase and redis.call('HGET', RUN, 'error') or false
  return item, inputs, steps, run.workflow, error, round, previous, graph.phase or ''
end

-- What a decision needs: {body, record, what `scope_of` returns}; {} the plan has no such step. That of the run's outputs
-- is JSON {outputs, output_reads}; what has not run reads as in a phase that follows the steps.
local function question_of(id)
  if id == '$outputs' then
    local text = redis.call('HGET', PLAN, '$outputs')
    if text == '1' then text = redis.call('HGET', PLAN, '$meta') end   -- a plan that an older version stored
    return {text, '', scope_of(id, {reads = cjson.decode(text).output_reads, phase = id})}
  end
  local body = redis.call('HGET', PLAN, 'b:' .. split(id))
  if not body then return {} end
  return {body, redis.call('HGET', STEPS, id) or '', scope_of(id, node(id), true)}
end

-- Whoever hears of the first decision takes it at once, so what it needs goes along: {id, schema, its question}.
local function pose_first()
  local id = decide[1]
  if type(id) == 'string' then decide[1] = {id, run.schema, question_of(id)} end
end

local function advance()
  pose_first()
  write_counts()
  return {1, run.priority, ready, decide, elsewhere}
end

-- An answer that does not count is kept beside the step, for people: another attempt has taken its place, or the run was
-- stopped. Not that of an attempt which was told to stop. Returns what the script returns.
local function superseded(id, rec, attempt, output, error)
  if rec and rec.attempt == attempt and rec.state == 'succeeded' then   -- told again, because no answer came
    return {1, run.priority, {}, {}, {}, {}}
  end
  if not rec or attempt <= 0 then return {0} end
  if error then
    local repeated = rec.attempt == attempt and (rec.state == 'waiting' or rec.state == 'failed')
    if repeated or cjson.decode(error).type == 'LeaseLost' then return {0} end
  end
  rec.late = rec.late or {}
  rec.late[#rec.late + 1] = {attempt = attempt - (rec.before or 0), at = NOW, error = error and cjson.decode(error)}
  save(id, rec)
  if output and output ~= '' then redis.call('HSET', OUTPUTS, 'l:' .. id .. ' ' .. #rec.late, output) end
  emit('step.superseded', id, attempt - (rec.before or 0), error)
  local left = redis.call('PTTL', RUN)
  for _, key in ipairs(left > 0 and {OUTPUTS, EVENTS} or {}) do redis.call('PEXPIRE', key, left) end
  return {0}
end

-- Is this answer for the attempt that counts? From 0 downwards it is a decision: of a pending step, of a foreach whose
-- items are done, a loop whose round is, or a step whose child run is over. Each round of a loop has decisions of its
-- own.
local function current(rec, attempt)
  if attempt <= 0 and (not rec or not alive(rec)) then drop_timer('decide', RUN_ID, ARGV[2], '0') end
  if not rec then return false end
  if attempt > 0 then return rec.state == 'running' and rec.worker and rec.attempt == attempt end
  if run.state == 'paused' or -attempt ~= (rec.turn or 0) then return false end
  if rec.state == 'pending' then return not rec.queue and not rec.held end
  if rec.state == 'waiting' then return rec.child ~= nil end
  return rec.state == 'running' and (rec.at_end or (rec.n ~= nil and (rec.enough or rec.done == rec.cursor)))
end
