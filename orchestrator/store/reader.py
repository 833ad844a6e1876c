"""`RunReader`: everything that is read of a run: records, scopes for expressions, history. It changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import redis

from orchestrator.errors import RunNotFound
from orchestrator.events import RUN_ENDS
from orchestrator.records import Event, RunRecord, StepError, StepRecord
from orchestrator.states import RunState, StepState
from orchestrator.store.keys import Keys
from orchestrator.store.plans import read_plan
from orchestrator.store.values import unpack
from orchestrator.workflow.plan import Plan, PlanStep, step_from_json

Json = Any
_REMEMBERED_RUNS = 10_000
_REMEMBERED_PLANS = 16
_PAGE = 200


class RunReader:
    """The runs of one server, read-only."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        # Any: redis-py cannot say that replies are text because of `decode_responses`.
        self.client: Any = client
        self.keys = keys
        self._plan_of: dict[str, str] = {}
        self._plans: dict[str, Plan] = {}

    # --- what a transition or an expression needs ------------------------------------------------------------

    def plan_hash(self, run_id: str) -> str:
        """The hash of the plan a run is pinned to; remembered, because a run never changes it.

        Raises:
            RunNotFound: no such run.
        """
        known = self._plan_of.get(run_id)
        if known is None:
            known = self.client.hget(self.keys.run(run_id), "plan")
            if known is None:
                raise RunNotFound(f"no run {run_id!r}", run_id=run_id)
            if len(self._plan_of) >= _REMEMBERED_RUNS:
                self._plan_of.clear()
            self._plan_of[run_id] = known
        return known

    def priority(self, run_id: str) -> str:
        """The run's priority word."""
        return str(self.client.hget(self.keys.run(run_id), "priority") or "medium")

    def load_step(self, run_id: str, step_id: str) -> tuple[PlanStep, dict[str, Json]]:
        """A step's plan entry and its record as stored. One round trip. `step_id` may be an item, `x[3]`."""
        base = step_id.partition("[")[0]
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hget(self.keys.plan(self.plan_hash(run_id)), f"b:{base}")
            pipe.hget(self.keys.steps(run_id), step_id)
            body, record = pipe.execute()
        return step_from_json(json.loads(body)), json.loads(record or "{}")

    def load_decision(self, run_id: str, step_id: str) -> tuple[PlanStep, dict[str, Json], dict[str, Json]]:
        """A step to decide: its plan entry, its record, and what its expressions may read. Two round trips."""
        step, record = self.load_step(run_id, step_id)
        return step, record, self.load_scope(run_id, step.reads, step.reads_inputs)

    def load_scope(self, run_id: str, reads: Sequence[str], inputs: Sequence[str] | None) -> dict[str, Json]:
        """What expressions may read: these steps and these inputs (None: all). One round trip, two for all inputs."""
        run = self.keys.run(run_id)
        names = json.loads(self.client.hget(run, "input_names") or "[]") if inputs is None else list(inputs)
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hmget(run, "workflow", *[f"i:{name}" for name in names])
            for other in reads:
                pipe.hget(self.keys.steps(run_id), other)
                pipe.hget(self.keys.outputs(run_id), other)
            (workflow, *values), *rest = pipe.execute()
        return scope(run_id, workflow, zip(names, values, strict=True), zip(reads, rest[::2], rest[1::2], strict=True))

    def load_items(self, run_id: str, step_id: str, count: int) -> list[dict[str, Json]]:
        """`{output, status, error, attempts}` of each item of a foreach, in order."""
        items = [f"{step_id}[{i}]" for i in range(count)]
        views = self.load_scope(run_id, items, ())["steps"]
        return [views[item] for item in items]

    def load_outputs(self, run_id: str) -> tuple[Json, tuple[str, ...]]:
        """The template of the run's outputs and the steps it reads."""
        meta = json.loads(self.client.hget(self.keys.plan(self.plan_hash(run_id)), "$meta"))
        return meta["outputs"], tuple(meta["output_reads"])

    def step_ids(self, run_id: str) -> tuple[str, ...]:
        """The ids of the plan's steps that users see, in topological order."""
        order = json.loads(self.client.hget(self.keys.plan(self.plan_hash(run_id)), "$order"))
        return tuple(step_id for step_id in order if "." not in step_id)

    # --- what people look at ---------------------------------------------------------------------------------

    def read_plan(self, run_id: str) -> Plan:
        """The definition the run is pinned to; remembered, because a plan never changes. O(steps) the first time."""
        plan_hash = self.plan_hash(run_id)
        if plan_hash not in self._plans:
            if len(self._plans) >= _REMEMBERED_PLANS:
                self._plans.clear()
            self._plans[plan_hash] = read_plan(self.client.hgetall(self.keys.plan(plan_hash)))
        return self._plans[plan_hash]

    def read_run(self, run_id: str) -> RunRecord:
        """Raises RunNotFound."""
        fields = self.client.hmget(self.keys.run(run_id), *_RUN_FIELDS)
        if fields[0] is None:
            raise RunNotFound(f"no run {run_id!r}", run_id=run_id)
        return _run_record(run_id, fields)

    def read_steps(self, run_id: str) -> dict[str, StepRecord]:
        """Records of the steps, and of items as `x[3]`, that have one; a step without one has not been reached."""
        raw = self.client.hgetall(self.keys.steps(run_id))
        return {step_id: _step_record(step_id, json.loads(text)) for step_id, text in raw.items() if step_id[0] != "#"}

    def read_steps_in_order(self, run_id: str) -> list[StepRecord]:
        """The steps that users see, in the plan's order, with their agents; the items of a foreach follow it.

        A step that was not reached is pending, or cancelled once the run is over.
        """
        plan, known, run = self.read_plan(run_id), self.read_steps(run_id), self.read_run(run_id)
        unreached = StepState.CANCELLED if run.state.terminal else StepState.PENDING
        steps = []
        for step in plan.steps:
            if step.internal:
                continue
            record = known.get(step.id) or StepRecord(step.id, unreached)
            items = [known.get(f"{step.id}[{i}]") for i in range(record.items or 0)]
            steps += [replace(found, agent=found.agent or step.agent) for found in (record, *items) if found]
        return steps

    def read_outputs(self, run_id: str) -> dict[str, Json]:
        """Outputs of all steps, by id. O(bytes)."""
        raw = self.client.hgetall(self.keys.outputs(run_id))
        return {step_id: unpack(text) for step_id, text in raw.items() if not step_id.startswith("i:")}

    def list_runs(
        self, *, state: RunState | None = None, workflow: str | None = None, limit: int = 50
    ) -> list[RunRecord]:
        """The newest runs first. Entries of runs past their retention are dropped on the way."""
        found: list[RunRecord] = []
        start = 0
        while len(found) < limit:
            ids = self.client.zrevrange(self.keys.runs, start, start + _PAGE - 1)
            if not ids:
                break
            with self.client.pipeline(transaction=False) as pipe:
                for run_id in ids:
                    pipe.hmget(self.keys.run(run_id), *_RUN_FIELDS)
                rows = pipe.execute()
            gone = [run_id for run_id, fields in zip(ids, rows, strict=True) if fields[0] is None]
            if gone:
                self.client.zrem(self.keys.runs, *gone)
            runs = [_run_record(run_id, fields) for run_id, fields in zip(ids, rows, strict=True) if fields[0]]
            found += [run for run in runs if state in (None, run.state) and workflow in (None, run.workflow)]
            start += len(ids) - len(gone)
        return found[:limit]

    def find_runs(self, prefix: str, limit: int = 2) -> list[str]:
        """Ids of runs that start with `prefix`, among all that are kept. O(runs)."""
        ids = self.client.zrevrange(self.keys.runs, 0, -1)
        return [run_id for run_id in ids if run_id.startswith(prefix)][:limit]

    def read_events(self, run_id: str, *, after: str = "0") -> list[Event]:
        """The run's history after the given event id, oldest first."""
        return [_event(*entry) for entry in self.client.xrange(self.keys.events(run_id), min=f"({after}")]

    def wait_for_end(self, blocking: Any, run_id: str, *, block_ms: int) -> Iterator[RunRecord | None]:
        """The run, once it is over; before that None every `block_ms`, to look around.

        Nothing is read while the run goes on: the ends of all runs are one small stream.
        """
        newest = self.client.xrevrange(self.keys.ended, count=1)
        after = str(newest[0][0]) if newest else "0"
        run = self.read_run(run_id)
        while not run.state.terminal:
            reply = blocking.xread({self.keys.ended: after}, block=block_ms)
            if not reply:
                yield None
            else:
                entries = _entries(reply, self.keys.ended)
                after = entries[-1][0]
                if not any(fields["run"] == run_id for _, fields in entries):
                    continue
            run = self.read_run(run_id)
        yield run

    def follow_events(
        self, blocking: Any, run_id: str, *, after: str = "0", block_ms: int = 1000
    ) -> Iterator[Event | None]:
        """The run's history as it happens, until the run ends. None: nothing for `block_ms`, to look around.

        Args:
            blocking: a client whose socket time-out is longer than `block_ms`.
        """
        key = self.keys.events(run_id)
        while True:
            reply = blocking.xread({key: after}, block=block_ms, count=1000)
            if not reply:
                yield None
                continue
            for entry in _entries(reply, key):
                event = _event(*entry)
                after = event.id
                yield event
                if event.name in RUN_ENDS:
                    return


_RUN_FIELDS = (
    "workflow", "version", "plan", "state", "priority", "created_at", "started_at", "finished_at", "outputs", "error",
)


def _run_record(run_id: str, fields: list[str | None]) -> RunRecord:
    workflow, version, plan, state, priority, created, started, finished, outputs, error = fields
    return RunRecord(
        id=run_id,
        workflow=workflow or "",
        version=version or "",
        plan_hash=plan or "",
        state=RunState(state or "pending"),
        priority=priority or "medium",
        created_at=int(created or 0),
        started_at=int(started) if started else None,
        finished_at=int(finished) if finished else None,
        outputs=unpack(outputs) if outputs else None,
        error=StepError.from_json(json.loads(error)) if error else None,
    )


def _step_record(step_id: str, data: dict[str, Json]) -> StepRecord:
    return StepRecord(
        id=step_id,
        state=StepState(data["state"]),
        attempts=data.get("attempt", 0),
        ready_at=data.get("ready_at"),
        started_at=data.get("started_at"),
        finished_at=data.get("finished_at"),
        retry_at=data.get("retry_at"),
        worker=data.get("worker"),
        error=StepError.from_json(data.get("error")),
        reason=data.get("reason"),
        progress=data.get("progress"),
        note=data.get("note"),
        items=data.get("n"),
        items_done=data.get("done"),
        agent=data.get("agent"),
        hands=tuple(data.get("hands", ())),
    )


def _entries(reply: Any, key: str) -> list[Any]:
    """The entries of the one stream that was read: RESP 2 answers with pairs, RESP 3 with a map."""
    entries = dict(reply)[key] if isinstance(reply, list) else reply[key][0]
    return list(entries)


def _event(entry_id: str, fields: dict[str, str]) -> Event:
    text = fields.get("d", "")
    data = json.loads(text) if text.startswith("{") else ({"note": text} if text else {})
    attempt = fields.get("a")
    return Event(
        id=entry_id,
        at=int(entry_id.partition("-")[0]),
        name=fields["e"],
        step=fields.get("s") or None,
        attempt=int(attempt) if attempt else None,
        data=data,
    )


def scope(run_id: str, workflow: str, inputs: Iterable[Any], steps: Iterable[Any]) -> dict[str, Json]:
    """The names an expression may read.

    Args:
        inputs: pairs of name and JSON text. steps: triples of id, stored record, stored output.
    """
    return {
        "run": {"id": run_id, "workflow": workflow, "error": None},
        "inputs": {name: json.loads(text) for name, text in inputs if text is not None},
        "steps": {step_id: _step_view(record, output) for step_id, record, output in steps},
    }


def _step_view(record: str | None, output: str | None) -> dict[str, Json]:
    known = json.loads(record) if record else {}
    return {
        "output": unpack(output) if output else None,
        "status": known.get("state", "pending"),
        "error": _without_traceback(known.get("error")),
        "attempts": known.get("attempt", 0),
    }


def _without_traceback(error: dict[str, Json] | None) -> dict[str, Json] | None:
    return {key: value for key, value in error.items() if key != "traceback"} if error else None
