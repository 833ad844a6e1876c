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
StepKind = Literal["task", "set", "foreach", "gate", "join"]
RunIf = Literal["none_failed", "all_success", "any_success", "all_done", "always"]
OnError = Literal["fail", "continue"]
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


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One node of the graph.

    `task` runs on an agent; `set` is evaluated where the run advances; `foreach` runs its agent's task once per item;
    `gate` decides the `when` of a container; `join` is the end of a container and needs no work.
    With a `capability`, `agent` is one that has it; which one runs the step is decided when the run reaches it.
    `gate` (the field) is the innermost gate around the step: when that gate is skipped, so is the step.
    `reads` are the steps whose record or output the step's expressions name; `reads_inputs` the inputs they name
    (`None` stands for all of them).
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
    retry: Retry = Retry()
    timeout_ms: int | None = None
    on_error: OnError = "fail"
    priority: str | None = None
    reads: tuple[str, ...] = ()
    reads_inputs: tuple[str, ...] | None = ()

    @property
    def dispatched(self) -> bool:
        """Whether a message may go straight to the agent once the needs are done, with nothing to decide before."""
        return self.kind == "task" and self.when is None and self.capability is None

    @property
    def internal(self) -> bool:
        """Whether the step is a node of the compiler's own that users do not see."""
        return self.kind in ("gate", "join")

    @property
    def name(self) -> str:
        """What logs and Flower show: `writer.draft`."""
        return f"{self.agent}.{self.task}" if self.agent else f"{self.kind}.{self.id}"


@dataclass(frozen=True)
class Plan:
    """A whole workflow, compiled. `steps` are in topological order."""

    name: str
    version: str
    steps: tuple[PlanStep, ...]
    outputs: dict[str, Json] | None = None
    output_reads: tuple[str, ...] = ()
    inputs_schema: dict[str, dict[str, Json]] = field(default_factory=dict)
    priority: str = "medium"
    timeout_ms: int | None = None

    @cached_property
    def by_id(self) -> dict[str, PlanStep]:
        return {step.id: step for step in self.steps}

    @cached_property
    def entry(self) -> tuple[str, ...]:
        """The steps that need nothing."""
        return tuple(step.id for step in self.steps if not step.needs)

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """The agents the workflow names, each once, in order of appearance."""
        return tuple(dict.fromkeys(step.agent for step in self.steps if step.agent))

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
        }


_STEP_DEFAULTS = PlanStep(id="", kind="task")


def step_to_json(step: PlanStep) -> dict[str, Json]:
    """The step as a dict of JSON values; fields that hold their default are left out."""
    data: dict[str, Json] = {"id": step.id, "kind": step.kind}
    for name in PlanStep.__slots__:
        value = getattr(step, name)
        if name in data or value == getattr(_STEP_DEFAULTS, name):
            continue
        if isinstance(value, (Retry, ForEach)):
            value = {key: getattr(value, key) for key in value.__slots__}
        data[name] = value
    return data


def step_from_json(data: dict[str, Json]) -> PlanStep:
    """The inverse of `step_to_json`. Unknown fields (of a newer version) are left out."""
    known = {key: value for key, value in data.items() if key in PlanStep.__slots__}
    for name in ("needs", "next", "reads", "reads_inputs"):
        if known.get(name) is not None:
            known[name] = tuple(known[name])
    if "retry" in known:
        retry = {k: v for k, v in known["retry"].items() if k in Retry.__slots__}
        known["retry"] = Retry(**{**retry, "give_up_on": tuple(retry.get("give_up_on", ()))})
    if known.get("foreach"):
        known["foreach"] = ForEach(**{k: v for k, v in known["foreach"].items() if k in ForEach.__slots__})
    return PlanStep(**known)
