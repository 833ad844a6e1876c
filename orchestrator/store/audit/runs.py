"""What must stand where for a run and its steps, by their records alone.

The rules are those of the scripts in `lua/`: each says which timer, queue entry or place a state has beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.ids import base_of, visible_id
from orchestrator.store.audit.looking import RUN_LIVE, Finding, Need, Part, Place, wrong
from orchestrator.store.keys import Keys

Json = Any
STEP_LIVE = frozenset({"pending", "running", "waiting"})
_RUN_FIELDS = ("state", "plan", "slot", "queued", "open", "active", "phase", "stopping", "awaited")
DECIDE = "decide"


@dataclass(frozen=True, slots=True)
class Shape:
    """What the audit needs of a plan: the graph, the plans of the children, the first steps of each part."""

    graph: dict[str, dict[str, Json]]
    children: tuple[str, ...]
    entry: dict[str, list[str]]
    timeout_ms: int | None

    @classmethod
    def of(cls, fields: dict[str, str]) -> Shape:
        """From the plan's hash."""
        return cls(
            {name[2:]: json.loads(text) for name, text in fields.items() if name.startswith("g:")},
            tuple(json.loads(fields.get("$children", "[]"))),
            {name[7:] or "main": json.loads(text) for name, text in fields.items() if name.startswith("$entry")},
            json.loads(fields["$meta"]).get("timeout_ms"),
        )


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run as it was read."""

    id: str
    fields: dict[str, str | None]
    hash: dict[str, str]
    has_events: bool
    expires_s: int
    listed: bool

    @property
    def state(self) -> str | None:
        return self.fields["state"]

    @property
    def phase(self) -> str:
        return self.fields["phase"] or "main"

    def records(self) -> dict[str, dict[str, Json]]:
        return {name: json.loads(text) for name, text in self.hash.items() if name[0] != "#"}

    def number(self, name: str) -> int:
        return int(self.fields[name] or 0)


class Runs:
    """Check: a run and all its steps."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._shapes: dict[str, Shape | None] = {}

    def ask(self, pipe: Any, item: str) -> None:
        pipe.hmget(self._keys.run(item), *_RUN_FIELDS)
        pipe.hgetall(self._keys.steps(item))
        pipe.exists(self._keys.events(item))
        pipe.expiretime(self._keys.run(item))
        pipe.zscore(self._keys.runs, item)

    @staticmethod
    def seen(item: str, replies: list[Any]) -> RunSeen:
        fields, steps, events, expires_s, listed = replies
        fields = dict(zip(_RUN_FIELDS, fields, strict=True))
        return RunSeen(item, fields, steps, bool(events), int(expires_s), listed is not None)

    def shape(self, plan_hash: str) -> Shape | None:
        """The plan of a run; None: it is gone."""
        if self._shapes.get(plan_hash) is None:
            fields = self._client.hgetall(self._keys.plan(plan_hash))
            self._shapes[plan_hash] = Shape.of(fields) if "$meta" in fields else None
        return self._shapes[plan_hash]

    def examine(self, item: str, replies: list[Any]) -> Iterator[Need]:
        run = self.seen(item, replies)
        if run.state is None:
            if run.hash or run.has_events:
                yield wrong("run", item, "its record is gone, and its steps or its history are left")
            return
        if not run.listed:
            yield wrong("run", item, "is in no list: `runs` does not show it")
        if run.state not in RUN_LIVE:
            if run.expires_s < 0:
                yield wrong("run", item, f"is {run.state} and never expires")
            for step_id, rec in run.records().items():
                if rec["state"] in STEP_LIVE:
                    yield wrong("step", f"{item} {step_id}", f"is {rec['state']}, and its run is {run.state}")
            return
        if run.expires_s >= 0:
            yield wrong("run", item, f"is {run.state}, and its record expires")
        if not run.has_events:
            yield wrong("run", item, "its history is gone")
        plan_hash = str(run.fields["plan"])
        shape = self.shape(plan_hash)
        if shape is None:
            yield wrong("run", item, f"its plan {plan_hash} is gone", "waiting")
            return
        for pinned in (plan_hash, *shape.children):
            kept = Place("kept", self._keys.plan(pinned))
            yield Need(Finding("run", item, f"its plan {pinned} is gone, or expires"), (kept,))
        yield from RunRules(self._keys, run, shape).needs()


class RunRules:
    """What a run that is not over must have beside it."""

    def __init__(self, keys: Keys, run: RunSeen, shape: Shape) -> None:
        self._keys = keys
        self._run = run
        self._graph = shape.graph
        self._shape = shape
        self._stopping = bool(run.fields["stopping"])
        self._records = run.records()

    @cached_property
    def _awaited(self) -> dict[str, list[str]]:
        return dict(json.loads(self._run.fields["awaited"] or "{}"))

    def needs(self) -> Iterator[Need]:
        run = self._run
        alive = {step_id: rec for step_id, rec in self._records.items() if rec["state"] in STEP_LIVE}
        for step_id, rec in alive.items():
            yield from self._step(step_id, rec)
        yield from self._limits(alive)
        running = sum("worker" in rec for rec in alive.values())
        if running != run.number("active"):
            yield wrong("counter", f"active of run {run.id}", f"is {run.number('active')}, and {_many(running)}")
        if self._shape.timeout_ms and run.state != "paused" and run.phase == "main":
            yield self._need("run", run.id, "will not time out", self._timer("run", "-"))
        yield from self._slot()
        if run.fields["queued"]:
            return
        if self._stopping and not running:
            yield wrong("run", run.id, "is stopping, nothing of it runs, and nothing ends it", "waiting")
        elif not alive:
            yield self._need("run", run.id, "nothing moves it on", self._timer(DECIDE, "$outputs"), part="waiting")
        if not self._stopping:
            yield from self._graph_walked()

    # --- the run as a whole ----------------------------------------------------------------------------------

    def _slot(self) -> Iterator[Need]:
        run, slot = self._run, self._run.fields["slot"]
        if slot is None:
            return
        key = self._keys.slots(slot)
        if run.fields["queued"]:
            waits, called = Place("zset", f"{key}:wait", run.id), self._timer(DECIDE, "$start")
            problem = f"waits for a place under {slot}, and nothing will start it"
            yield self._need("run", run.id, problem, waits, called, part="queued")
        else:
            yield self._need("run", run.id, f"has no place under {slot}", Place("zset", key, run.id))

    def _graph_walked(self) -> Iterator[Need]:
        """A step whose needs are done has a record, and `open` counts those of this part that are not over."""
        run = self._run
        due = list(self._shape.entry.get(run.phase, []))
        for name, text in run.hash.items():
            graph = self._graph.get(base_of(name[1:])) if name[0] == "#" and "!" not in name else None
            if graph and graph["kind"] != "end" and text.isdigit() and int(text) >= graph["needs"]:
                due.append(name[1:])
        for step_id in due:
            if step_id not in self._records:
                problem = "its turn has come, and its record is gone"
                yield wrong("step", f"{run.id} {visible_id(step_id)}", problem, "waiting")
        if run.phase == "compensate":
            return
        part = [name for name, graph in self._graph.items() if self._in_part(graph)]
        left = sum(self._open(name) for name in part)
        if left != run.number("open"):
            yield wrong("counter", f"open of run {run.id}", f"is {run.number('open')}, and {left} steps are not over")

    def _in_part(self, graph: dict[str, Json]) -> bool:
        return graph.get("phase", "main") == self._run.phase and "scope" not in graph

    def _open(self, step_id: str) -> bool:
        rec = self._records.get(step_id)
        if rec is None or rec["state"] in STEP_LIVE:
            return True
        if rec.get("reused"):  # taken over from an earlier run: over once the run has come to it
            return bool(int(self._run.hash.get(f"#{step_id}", 0)) < self._graph[step_id]["needs"])
        return bool(rec.get("loose") and rec["done"] < rec["n"])

    # --- one step --------------------------------------------------------------------------------------------

    def _step(self, step_id: str, rec: dict[str, Json]) -> Iterator[Need]:
        part, asked = part_of(rec), self._timer(DECIDE, step_id)
        if rec.get("held"):
            if self._run.state != "paused":
                yield self._of(step_id, "is held, and its run is not paused", part=part)
        elif rec["state"] == "waiting":
            yield from self._waiting(step_id, rec)
        elif "worker" in rec:
            attempt = rec["attempt"]
            lease = self._timer("lease", step_id, attempt)
            yield self._of(step_id, f"attempt {attempt} runs, and its lease never ends", lease, part=part)
            if self._about(step_id).get("timeout_ms"):
                timeout = self._timer("timeout", step_id, attempt)
                yield self._of(step_id, f"attempt {attempt} will not time out", timeout)
        elif rec["state"] == "running":
            yield from self._container(step_id, rec)
        elif rec.get("seq"):
            member = f"{rec['queue']} {rec['seq']} {self._run.id} {step_id}"
            ready = Place("zset", self._keys.ready, member)
            yield self._of(step_id, "is pending, and nobody would miss its message", ready, part=part)
        else:
            yield self._of(step_id, "is to be decided, and nothing asks for it", asked, part=part)

    def _waiting(self, step_id: str, rec: dict[str, Json]) -> Iterator[Need]:
        timers = [self._timer("retry", step_id, attempt) for attempt in {0, rec.get("attempt", 0)}]
        if "retry_at" in rec:
            yield self._of(step_id, "waits for a time, and no timer is set", *timers, part="waiting")
        if "signal" in rec and step_id not in self._awaited.get(rec["signal"], ()):
            yield self._of(step_id, f"waits for the signal {rec['signal']}, which would not reach it", part="waiting")
        if "child" in rec:
            child = Place("alive", self._keys.run(rec["child"]))
            problem = f"waits for the run {rec['child']}, which is gone or over"
            yield self._of(step_id, problem, child, self._timer(DECIDE, step_id), part="waiting")
        if not rec.keys() & {"retry_at", "signal", "child"}:
            yield self._of(step_id, "waits for nothing", part="waiting")

    def _container(self, step_id: str, rec: dict[str, Json]) -> Iterator[Need]:
        """A foreach, an item of one, or a loop: what is inside moves it on, or the decision about it."""
        graph = self._about(step_id)
        if self._stopping or graph.get("phase", "main") != self._run.phase:
            return
        asked = self._timer(DECIDE, step_id)
        if rec.get("at_end") or ("n" in rec and (rec.get("enough") or rec["done"] == rec["cursor"])):
            yield self._of(step_id, "what is inside is over, and nothing asks what follows", asked, part="waiting")
        elif "n" in rec:
            left = rec["cursor"] - rec["done"]
            here = sum(self._lives(f"{step_id}[{index}]") for index in range(rec["cursor"]))
            if left != here:
                yield self._of(step_id, f"{left} of its items are not over, and {here} are there", part="waiting")
        else:
            at = step_id[len(base_of(step_id)) :]
            if not any(self._lives(name + at) for name in graph.get("body", ())):
                yield self._of(step_id, "nothing inside moves it on", asked, part="waiting")

    def _limits(self, alive: dict[str, dict[str, Json]]) -> Iterator[Need]:
        for step_id, rec in alive.items():
            for limit, member in dict(rec.get("limited") or {}).items():
                key = self._keys.limit(limit)
                places = Place("set", key, member), Place("zset", f"{key}:wait", member)
                yield self._of(step_id, f"has no place under the limit {limit}, nor a turn", *places)

    # --- words -----------------------------------------------------------------------------------------------

    def _about(self, step_id: str) -> dict[str, Json]:
        return self._graph.get(base_of(step_id), {})

    def _lives(self, step_id: str) -> bool:
        return self._records.get(step_id, {}).get("state") in STEP_LIVE

    def _timer(self, kind: str, step_id: str, attempt: int = 0) -> Place:
        return Place("zset", self._keys.timers, f"{kind} {self._run.id} {step_id} {attempt}")

    def _of(self, step_id: str, problem: str, *places: Place, part: Part = "") -> Need:
        return self._need("step", f"{self._run.id} {visible_id(step_id)}", problem, *places, part=part)

    @staticmethod
    def _need(about: str, name: str, problem: str, *places: Place, part: Part = "") -> Need:
        return Need(Finding(about, name, problem, part), places)


def part_of(rec: dict[str, Json]) -> Part:
    """Where a step is counted."""
    if rec["state"] not in STEP_LIVE:
        return "terminal"
    if "worker" in rec:
        return "leased"
    return "queued" if rec["state"] == "pending" and rec.get("seq") else "waiting"


def part_of_run(run: RunSeen, parts: set[Part]) -> Part:
    """Where a run is counted. `parts`: where its steps are."""
    if run.state not in RUN_LIVE:
        return "terminal"
    if "leased" in parts:
        return "leased"
    return "queued" if "queued" in parts or run.fields["queued"] else "waiting"


def _many(running: int) -> str:
    return "1 attempt runs" if running == 1 else f"{running} attempts run"
