-- Purpose: give a step to one worker under a lease. pending -> running
-- KEYS: as _lib. ARGV: 2 step id, 3 worker, 4 lease ms.
-- Returns: {attempt, failures, body, item, {input, value, ...}, {step, record, output, ...},
--          workflow, agent, task, context}, or nil: not to be had
--          (done, taken, not due, run over). A message that is late or doubled ends here.
-- Cost: O(inputs and steps that the step's expressions name).
local id, worker = ARGV[2], ARGV[3]
local run = redis.call('HMGET', RUN, 'state', 'closing', 'workflow')
if run[2] or (run[1] ~= 'running' and run[1] ~= 'pending') then return nil end
local rec = record(id)
if not rec or rec.state ~= 'pending' or not rec.queue then return nil end
local graph = node(id)
started()
withdraw(id, rec)
-- How far the queue has been worked off. A step sent again says nothing of that: either of its messages may be this.
local mark = 'mark ' .. rec.queue
if not rec.resent and redis.call('HGET', QUEUES, mark) < rec.seq then redis.call('HSET', QUEUES, mark, rec.seq) end
rec.resent = nil
redis.call('HINCRBY', QUEUES, 'running ' .. string.match(rec.queue, '^%S+'), 1)
redis.call('HINCRBY', RUN, 'active', 1)
rec.attempt = (rec.attempt or 0) + 1
rec.state, rec.worker, rec.seq = 'running', worker, nil
rec.started_at = rec.started_at or NOW
rec.lease_until = NOW + ARGV[4]
save(id, rec)
timer(rec.lease_until, 'lease', RUN_ID, id, rec.attempt)
if graph.timeout_ms then timer(NOW + graph.timeout_ms, 'timeout', RUN_ID, id, rec.attempt) end
emit('step.started', id, rec.attempt, cjson.encode({worker = worker}))
local base = base_of(id)
local inputs, steps = {}, {}
local names = graph.reads_inputs or cjson.decode(redis.call('HGET', RUN, 'input_names'))
for _, name in ipairs(names) do
  inputs[#inputs + 1] = name
  inputs[#inputs + 1] = redis.call('HGET', RUN, 'i:' .. name)
end
for _, other in ipairs(graph.reads) do
  steps[#steps + 1] = other
  steps[#steps + 1] = redis.call('HGET', STEPS, other)
  steps[#steps + 1] = redis.call('HGET', OUTPUTS, other)
end
local item = base and redis.call('HGET', OUTPUTS, 'i:' .. id) or false
return {rec.attempt, rec.failures or 0, redis.call('HGET', PLAN, 'b:' .. (base or id)), item, inputs, steps, run[3],
  rec.agent or '', rec.task or '', rec.context or ''}
