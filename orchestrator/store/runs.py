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

from orchestrator.errors import RunNotFound
from orchestrator.records import Advance, Claim, Forward, Ready, Sending, StepError
from orchestrator.states import RunState
from orchestrator.store.keys import Keys
from orchestrator.store.plans import plan_fields, single
from orchestrator.store.reader import RunReader, scope
from orchestrator.store.scripts import FINISH_AND_SEND, Scripts
from orchestrator.store.values import pack, unpack
from orchestrator.workflow.plan import Plan, PlanStep, step_from_json

Json = Any


class Lease(IntEnum):
    """What a heartbeat learns."""

    HELD = 1
    LOST = 0
    CANCELLED = -1


class RunStore(RunReader):
    """The state of all runs on one server."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        super().__init__(client, keys)
        self._scripts = Scripts(client)

    # --- submit ----------------------------------------------------------------------------------------------

    def create_run(
        self,
        run_id: str,
        plan: Plan,
        dispatch: dict[str, Json],
        inputs: dict[str, str],
        *,
        priority: str,
        retention_ms: int,
        idempotency_key: str | None = None,
        idempotency_ttl_ms: int = 0,
    ) -> tuple[str, Advance | None]:
        """Record a run, and its plan if this is the first run of it, before any message is sent.

        Args:
            dispatch: step id -> segment. inputs: name -> JSON text.
        Returns:
            The run's id and what may start; with a used idempotency key the older run's id and None.
        Script: create_run.lua, one round trip; two more for the first run of a definition.
        """
        self._plan_of[run_id] = plan.hash
        used = self.keys.idempotency(idempotency_key) if idempotency_key else self.keys.run(run_id)
        keys = [*self._keys(run_id), self.keys.runs, used]
        fields = {
            "workflow": plan.name, "version": plan.version, "plan": plan.hash, "priority": priority,
            "retention_ms": retention_ms, "input_names": json.dumps(sorted(inputs)),
        } | {f"i:{name}": text for name, text in inputs.items()}
        args = [run_id, idempotency_ttl_ms if idempotency_key else 0, plan.timeout_ms or 0]
        args += [part for pair in fields.items() for part in pair]
        reply = self._scripts.call("create_run", keys, args)
        if reply[0] == -1:
            self._save_plan(plan, dispatch, retention_ms)
            reply = self._scripts.call("create_run", keys, args)
        if reply[0] == 0:
            return reply[1], None
        return run_id, _advance(run_id, reply)

    def _save_plan(self, plan: Plan, dispatch: dict[str, Json], retention_ms: int) -> None:
        key = self.keys.plan(plan.hash)
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping=plan_fields(plan, dispatch))
            pipe.pexpire(key, retention_ms)
            pipe.execute()

    # --- one attempt -----------------------------------------------------------------------------------------

    def claim_step(self, run_id: str, step_id: str, *, worker: str, lease_ms: int) -> Claim | None:
        """Move a pending step to running for one worker.

        Returns:
            The attempt with what its expressions may read, or None if there is nothing to claim: the step is done,
            taken or not due, or the run is over. A late or doubled message ends here.
        Raises:
            RunNotFound: no such run (any more).
        Script: claim_step.lua, O(values read).
        """
        reply = self._call("claim_step", run_id, step_id, worker, lease_ms)
        if reply is None:
            return None
        attempt, failures, body, item, inputs, steps, workflow, agent, task, context = reply
        step = _parse_step(body)
        if agent:
            step = replace(step, agent=agent, task=task)
        index = _index(step_id)
        readable = scope(run_id, workflow, _pairs(inputs), _triples(steps))
        if index is not None:
            readable |= {"item": unpack(item), "index": index}
        passed_on = json.loads(context) if context else None
        return Claim(run_id, step_id, attempt, failures, step, readable, index, passed_on)

    def finish_step(
        self,
        run_id: str,
        step_id: str,
        attempt: int,
        output: str | None,
        forward: Forward | None = None,
        sending: Sending | None = None,
    ) -> Advance | None:
        """Record an attempt's output (JSON text; None for a gate, which has none).

        With `forward`, the next step's message is put on its queue in the same script, if that step is ready now; with
        `sending`, what the handler sends is stored in it.

        Returns:
            What became possible, or None if the attempt does not count any more (fencing).
        Script: finish_step.lua, O(successors).
        """
        packed = "" if output is None else pack(output)
        keys, args = self._keys(run_id), [run_id, step_id, attempt, packed]
        if forward is None:
            keys, args = [*keys, keys[0], keys[0]], [*args, "", "", 0]
        else:
            keys = [*keys, forward.queue, forward.wake]
            args = [*args, forward.step_id, forward.message, forward.wake_ms]
        name = "finish_step" if sending is None else FINISH_AND_SEND
        more = sending or Sending([], [])
        advance = _advance(run_id, reply := self._scripts.call(name, [*keys, *more.keys], [*args, *more.args]))
        if advance is None:
            return None
        if sending is not None:
            advance = replace(advance, posted=tuple(reply[5]))
        if forward is None or not reply[4]:
            return advance
        return replace(advance, ready=advance.ready[1:], forwarded=forward.step_id)

    def fail_step(
        self, run_id: str, step_id: str, attempt: int, error: StepError, *, retry_delay_ms: int | None
    ) -> Advance | None:
        """Record that an attempt failed; with a delay, the step is tried again after it.

        Script: fail_step.lua, O(successors).
        """
        delay = -1 if retry_delay_ms is None else retry_delay_ms
        return _advance(run_id, self._call("fail_step", run_id, step_id, attempt, json.dumps(error.to_json()), delay))

    def extend_lease(self, run_id: str, step_id: str, *, worker: str, lease_ms: int, attempt: int = 0) -> Lease:
        """A heartbeat of the worker that runs the step. Script: extend_lease.lua, O(1)."""
        return Lease(self._call("extend_lease", run_id, step_id, worker, attempt, lease_ms))

    def note_progress(self, run_id: str, step_id: str, attempt: int, fraction: float | None, note: str | None) -> bool:
        """Record how far an attempt is (a share from 0 to 1). Script: note_progress.lua, O(1)."""
        data = json.dumps({key: value for key, value in (("fraction", fraction), ("note", note)) if value is not None})
        share = "" if fraction is None else fraction
        return bool(self._call("note_progress", run_id, step_id, attempt, share, note or "", data))

    # --- decisions -------------------------------------------------------------------------------------------

    def admit_step(self, run_id: str, step_id: str, assigned: PlanStep | None = None) -> Advance | None:
        """The step's `when` is true: it may go to its agent, or to the one that was chosen.

        Script: admit_step.lua, O(1).

        Args:
            assigned: the step with the agent and task that were chosen for its capability.
        """
        chosen = ("", "", "") if assigned is None else (assigned.agent, assigned.task, json.dumps(single(assigned)))
        return _advance(run_id, self._call("admit_step", run_id, step_id, *chosen, 0, ""))

    def park_step(self, run_id: str, step_id: str, *, again_ms: int, reason: str) -> None:
        """Nobody can take the step now; it is decided again after `again_ms`. Script: admit_step.lua, O(1)."""
        self._call("admit_step", run_id, step_id, "", "", "", again_ms, reason)

    def hand_step(self, claim: Claim, to: PlanStep, context: dict[str, Json]) -> Advance | None:
        """Move a step that runs to another agent. Script: hand_step.lua, O(1).

        Args:
            to: the step with the agent and task that go on with it.
        """
        segment = json.dumps(single(replace(to, id=claim.step_id)))
        args = [claim.attempt, claim.step.agent, to.agent, to.task, segment, json.dumps(context)]
        return _advance(claim.run_id, self._call("hand_step", claim.run_id, claim.step_id, *args))

    def skip_step(self, run_id: str, step_id: str, reason: str) -> Advance | None:
        """The step's `when` is false. Script: skip_step.lua, O(successors)."""
        return _advance(run_id, self._call("skip_step", run_id, step_id, reason))

    def open_foreach(self, run_id: str, step_id: str, items: Sequence[str], max_parallel: int | None) -> Advance | None:
        """Store the items (JSON texts) and offer the first of them. Script: open_foreach.lua, O(items)."""
        packed = [pack(item) for item in items]
        return _advance(run_id, self._call("open_foreach", run_id, step_id, max_parallel or 0, *packed))

    def end_run(self, run_id: str, *, outputs: str | None = None, error: StepError | None = None) -> bool:
        """Close a run whose steps are all done. False: somebody else has. Script: end_run.lua, O(1)."""
        state = RunState.FAILED if error else RunState.SUCCEEDED
        failure = json.dumps(error.to_json()) if error else ""
        return bool(self._call("end_run", run_id, state.value, pack(outputs) if outputs else "", failure))

    def cancel_run(self, run_id: str, *, error: StepError | None = None) -> bool:
        """Stop a run at once: cancelled, or failed where an error is given (its time is up).

        Returns:
            False if the run was over already.
        Script: cancel_run.lua, O(steps).
        """
        state = RunState.FAILED if error else RunState.CANCELLED
        reply = self._call("cancel_run", run_id, state.value, json.dumps(error.to_json()) if error else "")
        if reply == -1:
            raise RunNotFound(f"no run {run_id!r}", run_id=run_id)
        return bool(reply)

    # --- repair ----------------------------------------------------------------------------------------------

    def retry_step(self, run_id: str, step_id: str, attempt: int) -> Advance | None:
        """A retry is due. Script: retry_step.lua, O(1)."""
        return _advance(run_id, self._call("retry_step", run_id, step_id, attempt))

    def lapse_lease(
        self, run_id: str, step_id: str, attempt: int, *, max_losses: int, error: StepError
    ) -> Advance | None:
        """Take a step back from a worker that is gone. Script: lapse_lease.lua, O(1)."""
        return _advance(
            run_id, self._call("lapse_lease", run_id, step_id, attempt, max_losses, json.dumps(error.to_json()))
        )

    def redispatch_step(self, run_id: str, step_id: str, member: str) -> Advance | None:
        """Offer a step again whose message seems lost. Script: redispatch_step.lua, O(1)."""
        return _advance(run_id, self._call("redispatch_step", run_id, step_id, member))

    # --- inside ----------------------------------------------------------------------------------------------

    def _call(self, script: str, run_id: str, *args: Any) -> Any:
        return self._scripts.call(script, self._keys(run_id), [run_id, *args])

    def _keys(self, run_id: str) -> list[str]:
        keys = self.keys
        own = [keys.run(run_id), keys.steps(run_id), keys.outputs(run_id), keys.events(run_id)]
        shared = [keys.timers, keys.ready, keys.queues, keys.wake, keys.ended, keys.journal]
        return [*own, keys.plan(self.plan_hash(run_id)), *shared]


@lru_cache(maxsize=4096)
def _parse_step(body: str) -> PlanStep:
    # Plans never change, and the same few steps are claimed again and again; nobody writes to a PlanStep.
    return step_from_json(json.loads(body))


def _advance(run_id: str, reply: list[Any]) -> Advance | None:
    if reply[0] == 0:
        return None
    _, priority, ready, decide = reply[:4]
    pairs = tuple(Ready(step_id, json.loads(segment)) for step_id, segment in _pairs(ready))
    return Advance(run_id, pairs, tuple(decide), priority)


def _index(step_id: str) -> int | None:
    return int(step_id[step_id.index("[") + 1 : -1]) if step_id.endswith("]") else None


def _pairs(flat: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _triples(flat: list[Any]) -> list[tuple[Any, Any, Any]]:
    return list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
