"""The compiled form of a workflow: a flat graph of steps, frozen, hashed, plain JSON on the wire.

A plan knows nothing of YAML (line numbers are not part of it, so a comment does not change the hash) and nothing of
Celery or Redis. Ids with a dot are internal nodes that the compiler adds: `p.end` is the end of container `p`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Json = Any
StepKind = Literal[
    "task", "set", "foreach", "loop", "switch", "wait", "workflow", "stop", "gate", "branch", "join", "end"
]
Phase = Literal["main", "on_failure", "finally", "compensate"]
RunIf = Literal["none_failed", "all_success", "any_success", "all_done", "always"]
OnError = Literal["fail", "continue"]
Rest = Literal["cancel", "finish"]
OnItemError = Literal["fail", "collect", "skip"]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how soon a failed attempt is repeated. Times are milliseconds."""

    max_attempts: int = 1
    delay_ms: int = 1000
    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    max_delay_ms: int | None = None
    jitter: bool = False
    give_up_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForEach:
    """How a `foreach` step fans out over its items. `items` is an expression or a literal list."""

    items: Json
    max_parallel: int | None = None
    on_item_error: OnItemError = "fail"
    enough: int | None = None
    rest: Rest = "cancel"


@dataclass(frozen=True, slots=True)
class Loop:
    """The rounds of a loop. `until` is an expression; `previous` are the steps that are read of the round before."""

    until: str
    max_iterations: int
    delay_ms: int = 0
    previous: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step sleeps for. `duration` is milliseconds or an expression, `until` a time or an expression."""

    signal: str | None = None
    duration: Json = None
    until: str | None = None
    timeout_ms: int | None = None
    on_timeout: OnError = "fail"


@dataclass(frozen=True, slots=True)
class End:
    """How the run ends at a step."""

    status: Literal["succeeded", "failed"]
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Cache:
    """An output may be taken over from an earlier attempt with the same key, which is an expression."""

    key: str
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `rate` starts in `per_ms`, or at most `max` at once. `key` may be an expression."""

    key: str
    rate: int | None = None
    per_ms: int | None = None
    max: int | None = None


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One node of the graph.

    `task` runs on an agent, `workflow` is a child run, `wait` sleeps, `stop` ends the run; `set` and `switch` are
    evaluated where the run advances; `foreach` runs its agent's task, or its body, once per item, `loop` its body once
    per round. `gate` says the `when` of a container, `branch` opens one branch of a switch, `join` is the end of a
    container and needs no work, `end` the end of a body.

    With a `capability`, `agent` is one that has it; which one runs the step is decided when the run reaches it.
    `gate` (the field) is the innermost gate around the step: when that gate is skipped, so is the step.
    `scope` is the innermost loop or foreach around the step, `each` the innermost foreach, `depth` how many of those
    there are: so many indices follow the id of the step in a run. `body` and `entry` are, of such a container, all
    steps of the same depth inside and the first ones of them; `last` the step whose output is that of an item.
    Of a join with `enough`, `body` is what is inside, and it is the `race` of the steps there: when so many branches
    have succeeded, it is done, and the rest is cancelled or may finish.
    `phase` is the part of the workflow; `undoes` the step that a compensation is for: of the only step of a foreach
    (`each.item`), which the file calls `each`, that one.
    `reads` are the steps whose record or output the step's expressions name; `reads_inputs` the inputs they name
    (`None` stands for all of them); `reads_previous` steps of the round before, None when they do not name `round`.
    Of a step that runs on an agent these are what its attempts read, and `asks` and `asks_inputs` what is read once, to
    decide whether, over what and under which limits it runs.
    """

    id: str
    kind: StepKind
    needs: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    run_if: RunIf = "none_failed"
    gate: str | None = None
    when: str | None = None
    agent: str | None = None
    capability: str | None = None
    task: str | None = None
    params: dict[str, Json] = field(default_factory=dict)
    values: dict[str, Json] | None = None
    foreach: ForEach | None = None
    loop: Loop | None = None
    wait: Wait | None = None
    end: End | None = None
    enough: int | None = None
    rest: Rest = "cancel"
    race: str | None = None
    conditions: tuple[str | None, ...] = ()
    branch: int | None = None
    child: str | None = None
    file: str | None = None
    retry: Retry = Retry()
    timeout_ms: int | None = None
    on_error: OnError = "fail"
    fallback: tuple[str, str] | None = None
    compensated: bool = False
    undoes: str | None = None
    priority: str | None = None
    limits: tuple[Limit, ...] = ()
    cache: Cache | None = None
    output_schema: dict[str, Json] | None = None
    phase: Phase = "main"
    scope: str | None = None
    each: str | None = None
    within: str | None = None
    depth: int = 0
    body: tuple[str, ...] = ()
    entry: tuple[str, ...] = ()
    last: str | None = None
    reads: tuple[str, ...] = ()
    reads_inputs: tuple[str, ...] | None = ()
    reads_previous: tuple[str, ...] | None = None
    asks: tuple[str, ...] = ()
    asks_inputs: tuple[str, ...] | None = ()

    @property
    def dispatched(self) -> bool:
        """Whether a message may go straight to the agent once the needs are done, with nothing to decide before."""
        decided = self.when is not None or self.capability is not None or self.cache is not None
        return self.kind == "task" and not decided and not self.dynamic_limits

    @property
    def dynamic_limits(self) -> bool:
        """Whether a limit's key has to be evaluated first."""
        return any("${{" in limit.key for limit in self.limits)

    @property
    def internal(self) -> bool:
        """Whether the step is a node of the compiler's own that users do not see."""
        return self.kind in ("gate", "branch", "switch", "join", "end")

    def is_undone_as(self, name: str) -> bool:
        """Whether this is the compensation of the step that the file calls so."""
        return self.undoes is not None and self.undoes.removesuffix(".item") == name

    @property
    def name(self) -> str:
        """What logs and Flower show: `writer.draft`."""
        return f"{self.agent}.{self.task}" if self.agent else f"{self.kind}.{self.id}"


@dataclass(frozen=True, slots=True)
class Policies:
    """What the file says about its runs as a whole. Keys are expressions over the inputs; times are milliseconds."""

    idempotency_key: str | None = None
    idempotency_ttl_ms: int = 0
    reject_duplicate: bool = False
    concurrency_key: str | None = None
    max_runs: int = 1
    on_limit: Literal["queue", "reject", "cancel_oldest"] = "queue"
    keep_succeeded_ms: int | None = None
    keep_failed_ms: int | None = None


@dataclass(frozen=True)
class Plan:
    """A whole workflow, compiled. `steps` are in topological order.

    `children` are the workflows that its steps run, and theirs, each once; a step names its own by hash.
    `outline` is how the file nests: container -> its branches, each of them the ids right inside it, in order. Nothing
    that runs reads it: it is for pictures. A `parallel` or a group without an id goes by one with a dot.
    """

    name: str
    version: str
    steps: tuple[PlanStep, ...]
    outputs: dict[str, Json] | None = None
    output_reads: tuple[str, ...] = ()
    inputs_schema: dict[str, dict[str, Json]] = field(default_factory=dict)
    priority: str = "medium"
    timeout_ms: int | None = None
    policies: Policies = Policies()
    schedule: dict[str, Json] | None = None
    children: tuple[Plan, ...] = ()
    outline: dict[str, list[list[str]]] = field(default_factory=dict)

    @cached_property
    def by_id(self) -> dict[str, PlanStep]:
        return {step.id: step for step in self.steps}

    @cached_property
    def entry(self) -> tuple[str, ...]:
        """The steps that need nothing."""
        return self.entry_of("main")

    def entry_of(self, phase: Phase) -> tuple[str, ...]:
        """The first steps of a part of the workflow."""
        return tuple(step.id for step in self.part(phase) if not step.needs)

    def part(self, phase: Phase) -> tuple[PlanStep, ...]:
        """The steps of a part that are in no loop or foreach."""
        return tuple(step for step in self.steps if step.phase == phase and step.scope is None)

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """The agents that the workflow and its children name, each once, in order of appearance."""
        own = [name for step in self.steps for name in (step.agent, step.fallback and step.fallback[0]) if name]
        return tuple(dict.fromkeys((*own, *(name for child in self.children for name in child.agents))))

    def child(self, plan_hash: str) -> Plan:
        """The workflow that a step runs. Raises KeyError."""
        return {child.hash: child for child in self.children}[plan_hash]

    @cached_property
    def hash(self) -> str:
        """16 hex digits of the SHA-256 of the canonical JSON; the same definition has the same hash anywhere."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def to_json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "version": self.version,
            "steps": [step_to_json(step) for step in self.steps],
            "outputs": self.outputs,
            "output_reads": list(self.output_reads),
            "inputs_schema": self.inputs_schema,
            "priority": self.priority,
            "timeout_ms": self.timeout_ms,
            "policies": _plain(self.policies),
            "schedule": self.schedule,
            "children": [child.hash for child in self.children],
            **({"outline": self.outline} if self.outline else {}),
        }


_STEP_DEFAULTS = PlanStep(id="", kind="task")


def step_to_json(step: PlanStep) -> dict[str, Json]:
    """The step as a dict of JSON values; fields that hold their default are left out."""
    data: dict[str, Json] = {"id": step.id, "kind": step.kind}
    for name in PlanStep.__slots__:
        value = getattr(step, name)
        if name in data or value == getattr(_STEP_DEFAULTS, name):
            continue
        data[name] = _plain(value)
    return data


def _plain(value: Json) -> Json:
    if isinstance(value, _PARTS):
        return {key: getattr(value, key) for key in value.__slots__}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def step_from_json(data: dict[str, Json]) -> PlanStep:
    """The inverse of `step_to_json`. Unknown fields (of a newer version) are left out."""
    known = {key: value for key, value in data.items() if key in PlanStep.__slots__}
    for name in _TUPLES:
        if known.get(name) is not None:
            known[name] = tuple(known[name])
    for name, kind in _PART_OF.items():
        if known.get(name):
            known[name] = _part(kind, known[name])
    known["limits"] = tuple(_part(Limit, limit) for limit in known.get("limits", ()))
    return PlanStep(**known)


def policies_from_json(data: dict[str, Json]) -> Policies:
    """The policies as `to_json` writes them."""
    found: Policies = _part(Policies, data)
    return found


_PARTS = (Retry, ForEach, Loop, Wait, End, Cache, Limit, Policies)
_PART_OF: dict[str, type[Any]] = {
    "retry": Retry, "foreach": ForEach, "loop": Loop, "wait": Wait, "end": End, "cache": Cache,
}  # fmt: skip
_TUPLES = (
    "needs", "next", "reads", "reads_inputs", "reads_previous", "asks", "asks_inputs", "conditions", "fallback", "body",
    "entry",
)  # fmt: skip


def _part(kind: type[Any], data: dict[str, Json]) -> Any:
    fields = {key: value for key, value in data.items() if key in kind.__slots__}
    for name in ("give_up_on", "previous"):
        if name in fields:
            fields[name] = tuple(fields[name])
    return kind(**fields)
