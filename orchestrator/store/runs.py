"""`RunStore`: every transition of a run and its steps, one typed method per script, one round trip each.

Nothing here evaluates, publishes or decides: a method records one change and returns what it made possible.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum
from functools import lru_cache
from typing import Any

import redis

from orchestrator.errors import OrchestratorError, QueueFull, RunNotFound, RunOver, RunRefused, StepNotWaiting
from orchestrator.ids import base_of
from orchestrator.records import OUTPUTS, SCHEMA, Advance, Claim, Order, Question, Ready, Sending, StepError, Taker
from orchestrator.states import RunState
from orchestrator.store.direct import ask
from orchestrator.store.keys import Keys
from orchestrator.store.plans import Canvas, limits_to_json, plan_fields
from orchestrator.store.reader import RunReader, scope
from orchestrator.store.routing import wake_of
from orchestrator.store.scripts import NoRun, Scripts
from orchestrator.store.values import pack
from orchestrator.workflow.nearby import listed
from orchestrator.workflow.plan import Limit, Plan, PlanStep, step_from_json

Json = Any
_HELD_LEASES = 3  # how long it is known what a worker held that is gone


class Lease(IntEnum):
    """What a heartbeat learns."""

    HELD = 1
    LOST = 0
    CANCELLED = -1


class RunStore(RunReader):
    """The state of all runs on one server.

    Args:
        one_server: it is the broker as well, so that the scripts send the messages of steps.
    """

    def __init__(
        self, client: redis.Redis, keys: Keys, scripts: Scripts | None = None, *, one_server: bool = False
    ) -> None:
        super().__init__(client, keys)
        self._scripts = scripts or Scripts(client)
        self._canvas = Canvas(keys.prefix if one_server else None)

    # --- submit ----------------------------------------------------------------------------------------------

    def create_run(self, order: Order) -> tuple[str, Advance | None]:
        """Record a run, and its plan if this is the first run of it, before any message is sent.

        Returns:
            The run's id and what may start; with a used idempotency key the older run's id and None. A run that waits
            for its slot starts nothing; `Advance.holders` are then the oldest run that has a place and those that wait.
        Raises:
            RunRefused: there is no place and the run must not wait, or nobody waits for the child run.
            QueueFull: the server has used up most of its memory.
        Script: create_run.lua, one round trip; two more for the first run of a definition. Telling it again is safe.
        """
        found = self.create_runs([order])[0]
        if isinstance(found, OrchestratorError):
            raise found
        return found

    def create_runs(self, orders: Sequence[Order]) -> list[tuple[str, Advance | None] | OrchestratorError]:
        """What `create_run` returns or raises, for each: one round trip for all of them."""
        calls = [self._creation(order) for order in orders]
        replies = self._scripts.many("create_run", calls)
        unknown = [i for i, reply in enumerate(replies) if reply[0] == -1]
        if unknown:
            for order in {orders[i].plan.hash: orders[i] for i in unknown}.values():
                for made in (order.plan, *order.plan.children):
                    self.save_plan(made, order.dispatch(made), order.retention_ms)
            for i, reply in zip(unknown, self._scripts.many("create_run", [calls[i] for i in unknown]), strict=True):
                replies[i] = reply
        return [_created(order, reply) for order, reply in zip(orders, replies, strict=True)]

    def _creation(self, order: Order) -> tuple[list[str], list[Any]]:
        """The keys and arguments of create_run.lua."""
        run_id, plan = order.run_id, order.plan
        used = self.keys.idempotency(order.idempotency_key) if order.idempotency_key else self.keys.run(run_id)
        parent = self.keys.steps(order.parent[0]) if order.parent else self.keys.run(run_id)
        keys = [*self._keys(run_id), used, parent]
        args = [run_id, order.idempotency_ttl_ms if order.idempotency_key else 0, plan.timeout_ms or 0]
        waits = {"reject": 1, "cancel_oldest": 2}.get(order.on_limit, 0)
        args += [order.slot or "", order.max_runs, waits, order.parent[1] if order.parent else ""]
        args += [len(order.kept), *(part for kept in order.kept for part in kept)]
        args += [part for pair in _run_fields(order).items() for part in pair]
        return keys, args

    def save_plan(self, plan: Plan, dispatch: dict[str, Json], retention_ms: int) -> None:
        """Store a definition; without a run it is kept for `retention_ms`."""
        key = self.keys.plan(plan.hash)
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping=plan_fields(plan, dispatch, self._canvas))
            pipe.pexpire(key, retention_ms)
            pipe.execute()

    def start_run(self, run_id: str) -> Advance | None:
        """A run that waited for its slot has a place. Script: start_run.lua, O(entry steps)."""
        return _advance(run_id, self._call("start_run", run_id))

    # --- one attempt -----------------------------------------------------------------------------------------

    def claim_step(
        self, run_id: str, step_id: str, *, worker: str, lease_ms: int, pid: int = 0, again: bool = False
    ) -> Claim | None:
        """Move a pending step to running for one worker.

        Args:
            pid: the process, or in a pool of threads the thread, that runs the attempt; it runs one at a time.
            again: no answer came to the same call before; if that has claimed the step, this is its claim.
        Returns:
            The attempt with what its expressions may read, or None if there is nothing to claim: the step is done,
            taken or not due, or the run is over. A late or doubled message ends here.
        Raises:
            RunNotFound: no such run (any more).
        Script: claim_step.lua, O(values read).
        """
        return _claim(self._call("claim_step", run_id, step_id, worker, lease_ms, pid, SCHEMA, int(again)))

    def take_step(self, taker: Taker, *, again: bool = False) -> Claim | None:
        """Move the most urgent step that waits for one of the taker's agents to running, past the broker's consumer.

        Args:
            again: as for `claim_step`.
        Returns:
            None: nothing waits, or what is most urgent needs the consumer: a message, a step with a time limit.
        Script: take_step.lua, O(values read).
        """
        keys = self._keys("")
        return _claim(self._scripts.call("take_step", keys, ["", *_taking(taker), int(again), *taker.agents]))

    def await_work(self, taker: Taker, seconds: float) -> bool:
        """Wait until something is sent to one of the taker's agents; False: nothing was. One BLPOP."""
        queues = [wake_of(self._canvas.stem + agent) for agent in taker.agents]
        return ask(self.client, "BLPOP", *queues, max(seconds, 0.001)) is not None

    def load_held(self, worker: str, *, lease_ms: int) -> dict[int, tuple[str, str]]:
        """Process -> (run, step) that it runs or has to stop, or ("m", message) that it handles or has handled.

        It is kept for some leases from now.
        """
        key = self.keys.holds(worker)
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hgetall(key)
            pipe.pexpire(key, _HELD_LEASES * lease_ms)
            found, _ = pipe.execute()
        return {int(pid): tuple(held.split(" ")) for pid, held in found.items()}

    def load_decision(self, run_id: str, step_id: str) -> Question | None:
        """A step to decide, or the outputs of the run; None: a newer version must.

        Script: load_decision.lua, O(values read).
        """
        reply = self._call("load_decision", run_id, step_id, SCHEMA)
        return None if reply is None else _question(run_id, step_id, reply)

    def finish_step(
        self,
        run_id: str,
        step_id: str,
        attempt: int,
        output: str | None = None,
        sending: Sending | None = None,
        taker: Taker | None = None,
        *,
        again: bool = False,
    ) -> Advance | None:
        """Record an attempt's output (JSON text; None for a gate or a loop, which have none).

        Here and elsewhere, `attempt` from 0 downwards is a decision: the turn of a step inside a loop, negative.

        Args:
            sending: what the handler sends; stored in the same script.
            taker: the process goes on with the next step, `Advance.claim`, if there is one that needs no consumer.
            again: as for `claim_step`.
        Returns:
            What became possible, or None if the attempt does not count any more (fencing).
        Script: finish_step.lua, O(successors).
        """
        packed = "" if output is None else pack(output)
        taking = (*_taking(taker), int(again), json.dumps(taker.agents)) if taker else ("", 0, 0, 0, 0, "")
        more = sending or Sending([], [])
        reply = self._call("finish_step", run_id, step_id, attempt, packed, *taking, *more.args, more_keys=more.keys)
        advance = _advance(run_id, reply)
        if advance is None or (sending is None and taker is None):
            return advance
        return replace(advance, posted=tuple(reply[5] or ()), claim=_claim(reply[6]) if len(reply) > 6 else None)

    def fail_step(
        self, run_id: str, step_id: str, attempt: int, error: StepError, *, retry_delay_ms: int | None
    ) -> Advance | None:
        """Record that an attempt failed; with a delay, the step is tried again after it.

        Script: fail_step.lua, O(successors).
        """
        delay = -1 if retry_delay_ms is None else retry_delay_ms
        return _advance(run_id, self._call("fail_step", run_id, step_id, attempt, json.dumps(error.to_json()), delay))

    def extend_lease(
        self, run_id: str, step_id: str, *, worker: str, lease_ms: int, attempt: int = 0, pid: int = 0
    ) -> Lease:
        """A heartbeat of the worker that runs the step.

        Args:
            attempt: the one that is meant; 0: the one of the process `pid`, which may be of an older round of a loop.
        Script: extend_lease.lua, O(1).
        """
        return Lease(self._call("extend_lease", run_id, step_id, worker, attempt, lease_ms, pid))

    def note_progress(self, run_id: str, step_id: str, attempt: int, fraction: float | None, note: str | None) -> bool:
        """Record how far an attempt is (a share from 0 to 1). Script: note_progress.lua, O(1)."""
        data = json.dumps({key: value for key, value in (("fraction", fraction), ("note", note)) if value is not None})
        share = "" if fraction is None else fraction
        return bool(self._call("note_progress", run_id, step_id, attempt, share, note or "", data))

    # --- decisions -------------------------------------------------------------------------------------------

    def admit_step(
        self,
        run_id: str,
        step_id: str,
        turn: int = 0,
        *,
        assigned: PlanStep | None = None,
        cache_key: str = "",
        limits: Sequence[Limit] = (),
    ) -> Advance | None:
        """What stood before a step is decided: it may go to its agent, or to the one that was chosen.

        Args:
            assigned: the step with the agent and task that were chosen for its capability.
            cache_key: the key of the store under which the output is to be kept.
            limits: its limits, with their keys evaluated.
        Script: admit_step.lua, O(1).
        """
        chosen: tuple[str | None, str | None, str] = ("", "", "")
        if assigned is not None:
            chosen = assigned.agent, assigned.task, self._canvas.alone(replace(assigned, id=base_of(assigned.id)))
        told = json.dumps(limits_to_json(limits)) if limits else ""
        return _advance(run_id, self._call("admit_step", run_id, step_id, turn, *chosen, 0, "", cache_key, told))

    def park_step(self, run_id: str, step_id: str, turn: int, *, again_ms: int, reason: str) -> None:
        """Nobody can take the step now; it is decided again after `again_ms`. Script: admit_step.lua, O(1)."""
        self._call("admit_step", run_id, step_id, turn, "", "", "", again_ms, reason, "", "")

    def hand_step(self, claim: Claim, to: PlanStep, context: dict[str, Json]) -> Advance | None:
        """Move a step that runs to another agent. Script: hand_step.lua, O(1).

        Args:
            to: the step with the agent and task that go on with it.
        """
        segment = self._canvas.alone(replace(to, id=base_of(claim.step_id)))
        args = [claim.attempt, claim.step.agent, to.agent, to.task, segment, json.dumps(context)]
        return _advance(claim.run_id, self._call("hand_step", claim.run_id, claim.step_id, *args))

    def skip_step(self, run_id: str, step_id: str, reason: str, turn: int = 0) -> Advance | None:
        """The step's `when` is false. Script: skip_step.lua, O(successors)."""
        return _advance(run_id, self._call("skip_step", run_id, step_id, turn, reason))

    def take_branch(self, run_id: str, step_id: str, branch: int | None, turn: int = 0) -> Advance | None:
        """Which branch of a switch is taken; None: none. Script: take_branch.lua, O(branches)."""
        return _advance(run_id, self._call("take_branch", run_id, step_id, turn, "" if branch is None else branch))

    def stop_step(self, run_id: str, step_id: str, error: StepError | None, turn: int = 0) -> Advance | None:
        """The run ends at this step; with an error it fails. Script: stop_step.lua, O(steps)."""
        return _advance(
            run_id, self._call("stop_step", run_id, step_id, turn, json.dumps(error.to_json()) if error else "")
        )

    def open_foreach(
        self, run_id: str, step_id: str, items: Sequence[str], max_parallel: int | None, turn: int = 0
    ) -> Advance | None:
        """Store the items (JSON texts) and start the first of them. Script: open_foreach.lua, O(items)."""
        packed = [pack(item) for item in items]
        return _advance(run_id, self._call("open_foreach", run_id, step_id, turn, max_parallel or 0, *packed))

    def turn_loop(self, run_id: str, step_id: str, turn: int, *, delay_ms: int = 0) -> Advance | None:
        """Start the first or the next round of a loop. Script: turn_loop.lua, O(steps inside)."""
        return _advance(run_id, self._call("turn_loop", run_id, step_id, turn, delay_ms))

    def open_wait(
        self, run_id: str, step_id: str, *, signal: str | None, most_ms: int | None, until_ms: int | None, turn: int
    ) -> Advance | None:
        """A step sleeps until a signal comes, or until the time is over, or there. Script: open_wait.lua, O(1)."""
        times = [-1 if ms is None else ms for ms in (most_ms, until_ms)]
        return _advance(run_id, self._call("open_wait", run_id, step_id, turn, signal or "", *times))

    def drop_decision(self, run_id: str, step_id: str) -> None:
        """Nothing of the step is to be decided now. One ZREM."""
        self.client.zrem(self.keys.timers, f"decide {run_id} {step_id} 0")

    def open_child(self, run_id: str, step_id: str, child_id: str, turn: int = 0) -> bool:
        """Note which run a step waits for; that run is created next. Script: open_child.lua, O(1)."""
        return bool(self._call("open_child", run_id, step_id, turn, child_id))

    def end_run(self, run_id: str, *, outputs: str | None = None, error: StepError | None = None) -> Advance | None:
        """The steps of a run are all done. None: somebody else has ended it. Script: end_run.lua, O(1)."""
        state = RunState.FAILED if error else RunState.SUCCEEDED
        failure = json.dumps(error.to_json()) if error else ""
        return _advance(run_id, self._call("end_run", run_id, state.value, pack(outputs) if outputs else "", failure))

    # --- steering --------------------------------------------------------------------------------------------

    def cancel_run(self, run_id: str, *, error: StepError | None = None, at_once: bool = False) -> Advance | None:
        """Stop a run: cancelled, or failed where an error is given (its time is up). What is done is undone first.

        Args:
            at_once: leave out compensations and `finally`.
        Returns:
            None if the run was over already, or is being stopped.
        Script: cancel_run.lua, O(steps).
        """
        state = RunState.FAILED if error else RunState.CANCELLED
        failure = json.dumps(error.to_json()) if error else ""
        return self._steered(run_id, self._call("cancel_run", run_id, state.value, failure, int(at_once)))

    def pause_run(self, run_id: str, *, pause: bool = True) -> tuple[Advance | None, list[str]]:
        """Hold a run, or let it go on. Returns also the child runs that it waits for; None: it was so already.

        Raises:
            RunNotFound. RunOver.
        Script: pause_run.lua, O(steps).
        """
        reply = self._call("pause_run", run_id, int(pause))
        advance = self._steered(run_id, reply)
        return advance, [] if advance is None else list(reply[5])

    def signal_run(self, run_id: str, name: str, data: str) -> tuple[Advance | None, list[str]]:
        """Give a signal (data: JSON text) to a run. Returns the steps that it reached; None: it is kept.

        Raises:
            RunNotFound. RunOver.
        Script: signal_run.lua, O(steps that wait for it).
        """
        reply = self._call("signal_run", run_id, name, "", pack(data), "", "")
        if reply[0] == 2:
            return None, []
        advance = self._steered(run_id, reply)
        return advance, list(reply[5])

    def answer_step(
        self, run_id: str, step_id: str, data: str, error: StepError | None = None, *, since: int | None = None
    ) -> Advance | None:
        """Let a step that waits for a signal go on, or fail.

        Args:
            since: ms since the epoch at which it began to wait, if only this waiting is to be answered.
        Raises:
            RunNotFound. RunOver. StepNotWaiting.
        Script: signal_run.lua, O(successors).
        """
        failure = json.dumps(error.to_json()) if error else ""
        begun = "" if since is None else since
        return self._steered(run_id, self._call("signal_run", run_id, "", step_id, data, failure, begun), step_id)

    def _steered(self, run_id: str, reply: list[Any], step_id: str = "") -> Advance | None:
        if reply[0] == -1:
            raise RunNotFound(f"no run {run_id!r}", run_id=run_id)
        if reply[0] == -2:
            raise RunOver(f"run {run_id} is over: {reply[1]}", run_id=run_id, status=reply[1])
        if reply[0] == -3:
            why = f" and {reply[2]}" if reply[2] else ""
            state = f"it is {reply[1]}{why}" if reply[1] else "the run has not reached it, or has no such step"
            raise StepNotWaiting(f"step {step_id!r} of run {run_id} waits for no signal: {state}")
        if reply[0] == -4:
            raise StepNotWaiting(f"step {step_id!r} of run {run_id} waits anew since it was looked at; look again")
        return _advance(run_id, reply)

    # --- repair ----------------------------------------------------------------------------------------------

    def wake_step(self, run_id: str, step_id: str, attempt: int) -> Advance | None:
        """A step that sleeps is due. Script: wake_step.lua, O(1)."""
        error = StepError("SignalTimeout", "the signal it waits for did not come in time", step_id)
        return _advance(run_id, self._call("wake_step", run_id, step_id, attempt, json.dumps(error.to_json())))

    def lapse_lease(
        self, run_id: str, step_id: str, attempt: int, *, max_losses: int, error: StepError, dead: bool = False
    ) -> Advance | None:
        """Take a step back from a worker that is gone. Script: lapse_lease.lua, O(1).

        Args:
            error: what the step fails with when it has lost too many workers.
            dead: its process has ended for certain, so that nobody has to wait for the end of the lease.
        """
        args = [attempt, max_losses, json.dumps(error.to_json()), int(dead)]
        return _advance(run_id, self._call("lapse_lease", run_id, step_id, *args))

    def redispatch_step(self, run_id: str, step_id: str, member: str) -> Advance | None:
        """Offer a step again whose message seems lost. Script: redispatch_step.lua, O(1)."""
        return _advance(run_id, self._call("redispatch_step", run_id, step_id, member))

    # --- inside ----------------------------------------------------------------------------------------------

    def _call(self, script: str, run_id: str, *args: Any, more_keys: Sequence[str] = ()) -> Any:
        try:
            return self._scripts.call(script, [*self._keys(run_id), *more_keys], [run_id, *args])
        except NoRun:
            raise RunNotFound(f"no run {run_id!r}", run_id=run_id) from None

    def _keys(self, run_id: str) -> list[str]:
        return [self.keys.run(run_id), self._canvas.stem]


def _taking(taker: Taker) -> tuple[Any, ...]:
    return taker.worker, taker.lease_ms, taker.pid, SCHEMA


def _claim(reply: list[Any] | None) -> Claim | None:
    if reply is None:
        return None
    run_id, step_id, root, parent, attempt, before, failures, body, agent, task, context, *readable = reply
    step = _parse_step(body)
    if agent:
        step = replace(step, agent=agent, task=task)
    passed_on = json.loads(context) if context else None
    seen = scope(run_id, step_id, readable)
    return Claim(
        run_id, step_id, attempt, failures, step, seen, passed_on, before, root=root or None, parent=parent or None
    )


@lru_cache(maxsize=4096)
def _parse_step(body: str) -> PlanStep:
    # Plans never change, and the same few steps are claimed again and again; nobody writes to a PlanStep.
    return step_from_json(json.loads(body))


def _run_fields(order: Order) -> dict[str, str]:
    fields = {
        "workflow": order.plan.name, "version": order.plan.version, "plan": order.plan.hash,
        "priority": order.priority, "retention_ms": str(order.retention_ms),
        "input_names": json.dumps(sorted(order.inputs)),
    }  # fmt: skip
    if SCHEMA > 1:
        fields["schema"] = str(SCHEMA)
    policies = order.plan.policies
    kept = {
        "succeeded": policies.keep_succeeded_ms,
        "failed": policies.keep_failed_ms,
        "cancelled": policies.keep_failed_ms,
    }
    fields |= {f"retention_{state}": str(ms) for state, ms in kept.items() if ms is not None}
    if order.parent:
        fields |= {"parent": order.parent[0], "parent_step": order.parent[1]}
    if order.rerun_of:
        fields["rerun_of"] = order.rerun_of
    if order.trace:
        fields["trace"] = order.trace
    fields |= {f"again:{step}": child for step, child in order.again.items()}
    return fields | {f"i:{name}": text for name, text in order.inputs.items()}


def _created(order: Order, reply: list[Any]) -> tuple[str, Advance | None] | OrchestratorError:
    run_id = order.run_id
    if reply[0] == 0:
        return reply[1], None
    if reply[0] == 2:
        return run_id, Advance(run_id, priority=order.priority, holders=tuple(reply[1:]))
    if reply[0] == -2:
        holders = listed(reply[1:])
        return RunRefused(f"no place for a run with the concurrency key {order.slot!r}: {holders} has it")
    if reply[0] == -3:
        return RunRefused("nobody waits for the child run any more")
    if reply[0] == -4:
        return QueueFull(f"The server has no room for new runs: {reply[1]}")
    return run_id, _advance(run_id, reply)


def _advance(run_id: str, reply: list[Any]) -> Advance | None:
    if reply[0] == 0:
        return None
    _, priority, ready, decide, elsewhere = reply[:5]
    pairs = tuple(Ready(step_id, json.loads(segment)) for step_id, segment in _pairs(ready))
    question = None
    if decide and isinstance(decide[0], list):
        step_id, schema, needs = decide[0]
        question = _question(run_id, step_id, needs) if schema <= SCHEMA else None
        decide = [step_id, *decide[1:]]
    return Advance(run_id, pairs, tuple(decide), priority, tuple(_pairs(elsewhere)), question=question)


def _question(run_id: str, step_id: str, needs: list[Any]) -> Question:
    """From what `question_of` in _lib.lua returns."""
    body, record, *readable = needs
    step = json.loads(body)["outputs"] if step_id == OUTPUTS else _parse_step(body)
    return Question(step_id, step, json.loads(record or "{}"), scope(run_id, step_id, readable))


def _pairs(flat: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
