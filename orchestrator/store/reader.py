"""`RunReader`: everything that is read of a run: records, scopes for expressions, history. It changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import redis

from orchestrator.errors import RunNotFound
from orchestrator.events import RUN_ENDS
from orchestrator.ids import base_of
from orchestrator.records import Event, Late, RunRecord, StepError, StepRecord
from orchestrator.states import RunState, StepState
from orchestrator.store.keys import Keys
from orchestrator.store.listing import RUN_FIELDS, RunPage, list_runs, page_of_runs, run_record
from orchestrator.store.plans import read_plan
from orchestrator.store.rows import in_order
from orchestrator.store.scripts import Scripts
from orchestrator.store.values import unpack
from orchestrator.workflow.plan import Plan, PlanStep, step_from_json

Json = Any
_REMEMBERED_RUNS = 10_000
_REMEMBERED_PLANS = 16


class RunReader:
    """The runs of one server, read-only."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        # Any: redis-py cannot say that replies are text because of `decode_responses`.
        self.client: Any = client
        self.keys = keys
        self._scripts = Scripts(client)
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
        base = base_of(step_id)
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hget(self.keys.plan(self.plan_hash(run_id)), f"b:{base}")
            pipe.hget(self.keys.steps(run_id), step_id)
            body, record = pipe.execute()
        return step_from_json(json.loads(body)), json.loads(record or "{}")

    def load_items(self, run_id: str, step_id: str, count: int) -> list[dict[str, Json]]:
        """`{output, status, error, attempts}` of each item of a foreach, in order."""
        return list(self._views(run_id, [f"{step_id}[{i}]" for i in range(count)]).values())

    def load_view(self, run_id: str, step_id: str, *, beside: str) -> dict[str, Json]:
        """`{output, status, error, attempts}` of a step, for the same item as the step `beside`. Two round trips."""
        step, _ = self.load_step(run_id, step_id)
        name = step_id + "".join(f"[{index}]" for index in _INDEX.findall(beside)[: step.depth])
        return self._views(run_id, [name])[name]

    def load_run_scope(self, run_id: str) -> dict[str, Json]:
        """What all expressions of a run may read: itself and its inputs. Two round trips."""
        run = self.keys.run(run_id)
        names = json.loads(self.client.hget(run, "input_names") or "[]")
        workflow, *values = self.client.hmget(run, "workflow", *[f"i:{name}" for name in names])
        return {
            "run": {"id": run_id, "workflow": workflow, "error": None},
            "inputs": {name: json.loads(text) for name, text in zip(names, values, strict=True)},
        }

    def _views(self, run_id: str, step_ids: Sequence[str]) -> dict[str, dict[str, Json]]:
        """id -> `{output, status, error, attempts}`. One round trip."""
        if not step_ids:
            return {}
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hmget(self.keys.steps(run_id), *step_ids)
            pipe.hmget(self.keys.outputs(run_id), *step_ids)
            records, outputs = pipe.execute()
        found = zip(step_ids, records, outputs, strict=True)
        return {name: _step_view(rec, out) for name, rec, out in found}

    def load_output(self, run_id: str, step_id: str) -> Json:
        """What the outputs of the run hold under one key: a step, an item of a foreach `i:ID[n]`, a `Late.key`."""
        stored = self.client.hget(self.keys.outputs(run_id), step_id)
        return unpack(stored) if stored else None

    def step_ids(self, run_id: str) -> tuple[str, ...]:
        """The ids of the plan's steps that users see, in topological order."""
        order = json.loads(self.client.hget(self.keys.plan(self.plan_hash(run_id)), "$order"))
        return tuple(step_id for step_id in order if "." not in step_id)

    def load_child(self, run_id: str) -> tuple[RunState, dict[str, Json], StepError | None] | None:
        """State, outputs and error of a run; None: there is none. One round trip."""
        state, outputs, error = self.client.hmget(self.keys.run(run_id), "state", "outputs", "error")
        if state is None:
            return None
        failure = StepError.from_json(json.loads(error)) if error else None
        return RunState(state), unpack(outputs) if outputs else {}, failure

    def load_again(self, run_id: str, step_id: str) -> str | None:
        """The child run of which the new child run of a step takes over what is done."""
        found: str | None = self.client.hget(self.keys.run(run_id), f"again:{step_id}")
        return found

    def read_holders(self, slot: str) -> list[str]:
        """The runs that have a place under a concurrency key, the oldest first."""
        return list(self.client.zrange(self.keys.slots(slot), 0, -1))

    def load_plan(self, plan_hash: str) -> Plan | None:
        """A stored definition with its children; remembered, because it never changes. None: it is gone."""
        if plan_hash not in self._plans:
            fields = self.client.hgetall(self.keys.plan(plan_hash))
            if "$meta" not in fields:
                return None
            hashes = json.loads(fields["$meta"]).get("children", [])
            children = tuple(child for found in hashes if (child := self.load_plan(found)) is not None)
            if len(self._plans) >= _REMEMBERED_PLANS:
                self._plans.clear()
            self._plans[plan_hash] = replace(read_plan(fields), children=children)
        return self._plans[plan_hash]

    # --- what people look at ---------------------------------------------------------------------------------

    def read_plan(self, run_id: str) -> Plan:
        """The definition the run is pinned to; remembered, because a plan never changes. O(steps) the first time."""
        plan = self.load_plan(self.plan_hash(run_id))
        if plan is None:
            raise RunNotFound(f"no run {run_id!r}", run_id=run_id)
        return plan

    def read_run(self, run_id: str) -> RunRecord:
        """Raises RunNotFound."""
        outputs, *fields = self.client.hmget(self.keys.run(run_id), "outputs", *RUN_FIELDS)
        if fields[0] is None:
            raise RunNotFound(f"no run {run_id!r}", run_id=run_id)
        return replace(run_record(run_id, fields), outputs=unpack(outputs) if outputs else None)

    def read_steps(self, run_id: str) -> dict[str, StepRecord]:
        """Records of the steps, and of items as `x[3]`, that have one; a step without one has not been reached."""
        raw = self.client.hgetall(self.keys.steps(run_id))
        return {step_id: _step_record(step_id, json.loads(text)) for step_id, text in raw.items() if step_id[0] != "#"}

    def read_records(self, run_id: str, step_ids: Sequence[str]) -> list[StepRecord]:
        """Records of these steps, by their ids in the store, of those that have one. One command."""
        found = zip(step_ids, self.client.hmget(self.keys.steps(run_id), step_ids), strict=True)
        return [_step_record(step_id, json.loads(text)) for step_id, text in found if text]

    def read_steps_in_order(self, run_id: str) -> list[StepRecord]:
        """The steps that users see, with their agents: see `in_order`."""
        return in_order(self.read_plan(run_id), self.read_steps(run_id), self.read_run(run_id).state)

    def read_outputs(self, run_id: str) -> dict[str, Json]:
        """Outputs of all steps, by id, and those of superseded attempts, by `Late.key`. O(bytes)."""
        raw = self.client.hgetall(self.keys.outputs(run_id))
        return {step_id: unpack(text) for step_id, text in raw.items() if not step_id.startswith(("i:", "p:"))}

    def read_kept(self, run_id: str) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        """A run, its records and its outputs as they are stored, for another run that takes them over."""
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hgetall(self.keys.run(run_id))
            pipe.hgetall(self.keys.steps(run_id))
            pipe.hgetall(self.keys.outputs(run_id))
            run, steps, outputs = pipe.execute()
        return run, steps, outputs

    def list_runs(
        self, *, state: RunState | None = None, workflow: str | None = None, limit: int = 50
    ) -> list[RunRecord]:
        """The newest runs first, without their outputs: see `listing.list_runs`."""
        return list_runs(self._scripts, self.keys, state=state, workflow=workflow, limit=limit)

    def page_of_runs(
        self, *, state: RunState | None = None, workflow: str | None = None, text: str = "",
        after: str | None = None, limit: int = 50,
    ) -> RunPage:  # fmt: skip
        """The runs behind a place in the list: see `listing.page_of_runs`."""
        return page_of_runs(self.client, self.keys, state=state, workflow=workflow, text=text, after=after, limit=limit)

    def read_runs(self, run_ids: Sequence[str]) -> list[tuple[RunRecord, int]]:
        """Runs without their outputs, and how many attempts of each run now, of those that are still there.

        One round trip, a command each.
        """
        with self.client.pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.hmget(self.keys.run(run_id), "active", *RUN_FIELDS)
            found = zip(run_ids, pipe.execute(), strict=True)
        return [(run_record(run_id, fields), int(active or 0)) for run_id, (active, *fields) in found if fields[0]]

    def read_totals(self) -> tuple[int, int, int]:
        """The server's clock in ms, how many runs have ever ended, how many dead letters there are. One round trip."""
        with self.client.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zcard(self.keys.dead)
            pipe.xinfo_stream(self.keys.ended)
            clock, dead, ended = pipe.execute(raise_on_error=False)
        for reply in (clock, dead):
            if isinstance(reply, Exception):
                raise reply
        count = 0 if isinstance(ended, redis.ResponseError) else int(ended["entries-added"])  # no stream: none has
        return int(clock[0]) * 1000 + int(clock[1]) // 1000, count, int(dead)

    def find_runs(self, prefix: str, limit: int = 2) -> list[str]:
        """Ids of runs that start with `prefix`, among all that are kept. O(runs)."""
        ids = self.client.zrevrange(self.keys.runs, 0, -1)
        return [run_id for run_id in ids if run_id.startswith(prefix)][:limit]

    def read_events(self, run_id: str, *, after: str = "0") -> list[Event]:
        """The run's history after the given event id, oldest first."""
        return [_event(*entry) for entry in self.client.xrange(self.keys.events(run_id), min=f"({after}")]

    def read_newest_events(self, run_id: str, count: int) -> list[Event]:
        """The last `count` entries of the run's history, oldest first."""
        return [_event(*entry) for entry in self.client.xrevrange(self.keys.events(run_id), count=count)][::-1]

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

    def read_news(self, blocking: Any, after: Mapping[str, str], *, block_ms: int) -> dict[str, list[Event]]:
        """What has happened in several runs behind an event of each; waits at most `block_ms` for the first.

        Args:
            blocking: a client whose socket time-out is longer than `block_ms`.
            after: run id -> event id.
        Returns:
            run id -> events, oldest first, at most 1,000; runs without any are left out. One round trip.
        """
        streams = {self.keys.events(run_id): run_id for run_id in after}
        places = {stream: after[run_id] for stream, run_id in streams.items()}
        reply = blocking.xread(places, block=block_ms, count=1000) or {}
        read = dict(reply) if isinstance(reply, list) else {stream: found[0] for stream, found in reply.items()}
        return {streams[stream]: [_event(*entry) for entry in entries] for stream, entries in read.items()}

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


def _step_record(step_id: str, data: dict[str, Json]) -> StepRecord:
    return StepRecord(
        id=step_id,
        state=StepState(data["state"]),
        attempts=_attempts(data),
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
        rounds=data["round"] + 1 if "round" in data else None,
        signal=data.get("signal") if data["state"] == StepState.WAITING else None,
        child=data.get("child"),
        reused=bool(data.get("reused")),
        late=tuple(
            Late(late["attempt"], late["at"], f"l:{step_id} {number}", StepError.from_json(late.get("error")))
            for number, late in enumerate(data.get("late", ()), 1)
        ),
    )


def _attempts(data: dict[str, Json]) -> int:
    """The attempts of this round of a loop; the stored number goes on from round to round."""
    return int(data.get("attempt", 0)) - int(data.get("before", 0))


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


def scope(run_id: str, step_id: str, readable: Sequence[Any]) -> dict[str, Json]:
    """The names an expression of a step may read, from what `scope_of` in _lib.lua returns."""
    item, inputs, steps, workflow, error, round_index, previous, phase = readable
    unreached = StepState.CANCELLED if phase else StepState.PENDING
    found: dict[str, Json] = {
        "run": {"id": run_id, "workflow": workflow, "error": _without_traceback(json.loads(error)) if error else None},
        "inputs": {name: json.loads(text) for name, text in _groups(inputs, 2) if text is not None},
        "steps": {name: _step_view(record, output, unreached) for name, record, output in _groups(steps, 3)},
    }
    if item is not None:
        indices = _INDEX.findall(step_id)
        found |= {"item": unpack(item), "index": int(indices[-1])}
    if round_index:
        views = {name: _step_view(record, output) for name, record, output in _groups(previous, 3)}
        found["round"] = {"index": int(round_index), "previous": views if int(round_index) > 0 else None}
    return found


def _groups(flat: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    return zip(*(flat[at::size] for at in range(size)), strict=True)


_INDEX = re.compile(r"\[([0-9]+)\]")


def _step_view(record: str | None, output: str | None, unreached: StepState = StepState.PENDING) -> dict[str, Json]:
    """What expressions see of a step. `unreached`: the status of one that has no record."""
    known = json.loads(record) if record else {}
    return {
        "output": unpack(output) if output else None,
        "status": known.get("state", unreached),
        "error": _without_traceback(known.get("error")),
        "attempts": _attempts(known),
    }


def _without_traceback(error: dict[str, Json] | None) -> dict[str, Json] | None:
    # In this order: the scripts give the fields in that of a Lua table, and inside a text the order shows.
    return {key: error[key] for key in ("type", "message", "step", "attempt") if key in error} if error else None
