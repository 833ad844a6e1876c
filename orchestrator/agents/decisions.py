"""What a run decides without an agent: conditions, `set`, the branch of a switch, items and rounds, waits, child runs,
the run's outputs.

Whoever advances the run decides at once; if that process dies, the keeper decides. Deciding twice is harmless: the
values are the same and the store takes the first.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

from orchestrator.agents.failures import next_delay_ms, step_error
from orchestrator.agents.rerun import plan_rerun
from orchestrator.agents.run_spans import RunSpan, run_ends
from orchestrator.agents.submission import launch, order_run
from orchestrator.agents.values import encode
from orchestrator.errors import ChildRunFailed, LoopExhausted, NotEnough, OrchestratorError, RunNotFound, RunNotOver
from orchestrator.ids import new_id, visible_id
from orchestrator.messages import LONGEST_MS
from orchestrator.records import CANCEL, OUTPUTS, START, STOP, Advance, Question, Ready, StepError
from orchestrator.settings import Settings
from orchestrator.states import RunState, StepState
from orchestrator.store.directory import Directory
from orchestrator.store.runs import RunStore
from orchestrator.store.traces import RunTraces
from orchestrator.store.values import unpack
from orchestrator.workflow.explain import kind
from orchestrator.workflow.expressions import evaluate_bool, render
from orchestrator.workflow.filling import as_text
from orchestrator.workflow.plan import ForEach, Limit, PlanStep
from orchestrator.workflow.times import parse_duration, parse_time

Json = Any
PARKED_MS = 500  # how often a step that waits for a capability looks for an agent


def carry_on(
    store: RunStore, advance: Advance, settings: Settings, decisions: Decisions | None = None
) -> tuple[Advance, ...]:
    """Decide everything that can be decided now, also in other runs that this one lets go on.

    Args:
        decisions: who takes them; default: as they are taken in reality.
    Returns:
        The steps that wait for a message to their agent, by run, in the order they became ready; this run comes first.
    """
    decisions = decisions or Decisions(store, settings)
    ready: dict[str, list[Ready]] = {advance.run_id: list(advance.ready)}
    priority = {advance.run_id: advance.priority}
    newest = {advance.run_id: advance}
    todo = deque(asked(advance))
    while todo:
        run_id, what, question = todo.popleft()
        try:
            more = decisions.decide(run_id, what, question)
        except RunNotFound:  # past its retention, or a child that was never created
            store.drop_decision(run_id, what)
            continue
        if more is not None:
            ready.setdefault(more.run_id, []).extend(more.ready)
            priority.setdefault(more.run_id, more.priority)
            newest[more.run_id] = more
            todo.extend(asked(more))
    run_ends(settings, store, newest.values())
    return tuple(Advance(run_id, tuple(steps), priority=priority[run_id]) for run_id, steps in ready.items())


def asked(advance: Advance) -> Iterator[tuple[str, str, Question | None]]:
    """The decisions that a transition asks for: run, what, and what it needs as far as that came along."""
    for what in advance.decide:
        yield advance.run_id, what, advance.question if what == advance.decide[0] else None
    for run_id, what in advance.elsewhere:
        yield run_id, what, None


class Decisions:
    """Takes decisions of any run, one at a time."""

    def __init__(self, store: RunStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._limit_s = settings.max_expression_s

    def decide(self, run_id: str, what: str, question: Question | None = None) -> Advance | None:
        """Take one decision and record it. None: it was taken already, or there is nothing to decide yet.

        Args:
            question: what it needs, if that is known; it may be outdated, and then the store refuses the answer.
        Raises:
            RunNotFound: no such run (any more).
        """
        if what == START:
            return self._store.start_run(run_id)
        if what in (CANCEL, STOP):
            return self._store.cancel_run(run_id, at_once=what == STOP)
        question = question or self._store.load_decision(run_id, what)
        if question is None:
            return None  # a process of the newer version decides, when it keeps
        if what == OUTPUTS:
            return self._end(run_id, question)
        step, record, scope = question.step, question.record, question.scope
        if "state" not in record or StepState(record["state"]).terminal:
            self._store.drop_decision(run_id, what)
            return None
        turn = -int(record.get("turn", 0))
        try:
            return self._step(run_id, what, step, record, scope, turn)
        except OrchestratorError as error:
            if isinstance(error, RunNotFound):
                raise
            return self._fail(run_id, what, turn, error)

    def _step(
        self, run_id: str, step_id: str, step: PlanStep, record: dict[str, Json], scope: dict[str, Json], turn: int
    ) -> Advance | None:
        store = self._store
        begun = record.get("state") != StepState.PENDING
        if not begun and step.when is not None and not evaluate_bool(step.when, scope, limit_s=self._limit_s):
            return store.skip_step(run_id, step_id, "its when is false", turn)
        if step.foreach is not None:
            return self._foreach(run_id, step_id, step, record, scope, turn)
        if step.loop is not None:
            return self._loop(run_id, step_id, step, record, scope, turn)
        if step.kind == "set":
            values = render(step.values, scope, limit_s=self._limit_s)
            return store.finish_step(run_id, step_id, turn, self._encode(values, "the output"))
        if step.kind == "gate":
            return store.finish_step(run_id, step_id, turn)
        if step.kind == "switch":
            return store.take_branch(run_id, step_id, self._branch(step, scope), turn)
        if step.end is not None:
            message = None if step.end.message is None else self._text(step.end.message, scope)
            error = StepError("Ended", message or "the workflow ends here", visible_id(step_id))
            return store.stop_step(run_id, step_id, error if step.end.status == "failed" else None, turn)
        if step.kind == "wait":
            return self._wait(run_id, step_id, step, scope, turn)
        if step.kind == "workflow":
            return self._child(run_id, step_id, step, record, scope, turn)
        return self._admit(run_id, step_id, step, scope, turn)

    # --- steps that run on an agent --------------------------------------------------------------------------

    def _admit(self, run_id: str, step_id: str, step: PlanStep, scope: dict[str, Json], turn: int) -> Advance | None:
        """Let a step go to its agent: unless its output is known, and with the agent and the limits found out."""
        cache_key = ""
        if step.cache is not None:
            cache_key = self._cache_key(step, render(step.cache.key, scope, limit_s=self._limit_s))
            known = self._store.client.get(cache_key)
            if known is not None:
                return self._store.finish_step(run_id, step_id, turn, self._encode(unpack(known), "the output"))
        limits: tuple[Limit, ...] = ()
        if step.dynamic_limits:
            limits = tuple(replace(limit, key=self._text(limit.key, scope)) for limit in step.limits)
        assigned = None
        if step.capability is not None:
            agent = self._least_loaded(step)
            if agent is None:
                reason = f"no agent with capability {step.capability} is online"
                self._store.park_step(run_id, step_id, turn, again_ms=PARKED_MS, reason=reason)
                return None
            assigned = replace(step, id=step_id, agent=agent)
        return self._store.admit_step(run_id, step_id, turn, assigned=assigned, cache_key=cache_key, limits=limits)

    def _least_loaded(self, step: PlanStep) -> str | None:
        store = self._store
        directory = Directory(store.client, store.keys, lease_ms=round(self._settings.lease_s * 1000))
        return directory.least_loaded(str(step.capability), step.task)

    def _cache_key(self, step: PlanStep, key: Json) -> str:
        told = json.dumps([step.agent, step.task, key], sort_keys=True, ensure_ascii=False)
        return self._store.keys.cache(sha256(told.encode()).hexdigest())

    def _text(self, template: str, scope: dict[str, Json]) -> str:
        return as_text(render(template, scope, limit_s=self._limit_s))

    # --- containers ------------------------------------------------------------------------------------------

    def _foreach(
        self, run_id: str, step_id: str, step: PlanStep, record: dict[str, Json], scope: dict[str, Json], turn: int
    ) -> Advance | None:
        assert step.foreach
        if record.get("n") is None:
            items = foreach_items(step.foreach, scope, self._settings)
            return self._store.open_foreach(run_id, step_id, items, step.foreach.max_parallel, turn)
        failure = StepError.from_json(record.get("failure"))
        if failure is not None:
            return self._store.fail_step(run_id, step_id, turn, failure, retry_delay_ms=None)
        views = self._store.load_items(run_id, step_id, record["n"])
        good = sum(view["status"] == StepState.SUCCEEDED for view in views)
        if step.foreach.enough is not None and good < step.foreach.enough:
            raise NotEnough(f"{good} of its items succeeded, and {step.foreach.enough} have to")
        outputs = collect_items(views, step.foreach.on_item_error)
        return self._store.finish_step(run_id, step_id, turn, self._encode(outputs, "the list of outputs"))

    def _loop(
        self, run_id: str, step_id: str, step: PlanStep, record: dict[str, Json], scope: dict[str, Json], turn: int
    ) -> Advance | None:
        assert step.loop
        if record.get("state") == StepState.PENDING:
            return self._store.turn_loop(run_id, step_id, turn)
        if evaluate_bool(step.loop.until, scope, limit_s=self._limit_s):
            return self._store.finish_step(run_id, step_id, turn)
        if record["round"] + 1 >= step.loop.max_iterations:
            raise LoopExhausted(f"`until` did not hold after {step.loop.max_iterations} rounds")
        return self._store.turn_loop(run_id, step_id, turn, delay_ms=step.loop.delay_ms)

    def _branch(self, step: PlanStep, scope: dict[str, Json]) -> int | None:
        for at, condition in enumerate(step.conditions):
            if condition is None or evaluate_bool(condition, scope, limit_s=self._limit_s):
                return at
        return None

    # --- what takes time without a worker --------------------------------------------------------------------

    def _wait(self, run_id: str, step_id: str, step: PlanStep, scope: dict[str, Json], turn: int) -> Advance | None:
        wait = step.wait
        assert wait
        most_ms, until_ms = wait.timeout_ms, None
        try:
            if wait.duration is not None:
                most_ms = wait.duration
                if isinstance(most_ms, str):
                    most_ms = parse_duration(render(most_ms, scope, limit_s=self._limit_s))
                if most_ms > LONGEST_MS:
                    raise ValueError("is longer than 366d")
            elif wait.until is not None:
                until_ms = parse_time(render(wait.until, scope, limit_s=self._limit_s))
        except ValueError as error:
            raise OrchestratorError(f"wait: {error}") from None
        return self._store.open_wait(run_id, step_id, signal=wait.signal, most_ms=most_ms, until_ms=until_ms, turn=turn)

    def _child(
        self, run_id: str, step_id: str, step: PlanStep, record: dict[str, Json], scope: dict[str, Json], turn: int
    ) -> Advance | None:
        """Start the child run, or take over what came of it."""
        store = self._store
        waiting = record.get("state") == StepState.WAITING
        if waiting and "child" not in record:  # it failed, and its retry is due later
            store.drop_decision(run_id, step_id)
            return None
        child_id = record["child"] if waiting else new_id()
        found = store.load_child(child_id) if waiting else None
        if found is not None:
            return self._take_over(run_id, step_id, step, record, child_id, found, turn)
        plan = store.read_plan(run_id).child(str(step.child))
        values = render(step.params, scope, limit_s=self._limit_s)
        priority = step.priority or store.priority(run_id)
        parent = (run_id, step_id)
        order = order_run(plan, values, self._settings, run_id=child_id, priority=priority, parent=parent)
        before = store.load_again(run_id, step_id) if int(record.get("attempt", 0)) <= 1 else None
        if before is not None:
            with suppress(RunNotFound, RunNotOver):
                kept = plan_rerun(store, before, self._settings, definition=plan).order
                order = replace(order, kept=kept.kept, again=kept.again, rerun_of=before)
        if not waiting and not store.open_child(run_id, step_id, child_id, turn):
            return None
        with RunSpan(self._settings, order, parent=lambda: RunTraces(store).load_run(run_id)) as span:
            return launch(store, span.order)[1]

    def _take_over(
        self, run_id: str, step_id: str, step: PlanStep, record: dict[str, Json], child_id: str,
        found: tuple[RunState, dict[str, Json], StepError | None], turn: int,
    ) -> Advance | None:  # fmt: skip
        state, outputs, error = found
        if not state.terminal:
            self._store.drop_decision(run_id, step_id)
            return None
        if state is RunState.SUCCEEDED:
            return self._store.finish_step(run_id, step_id, turn, self._encode(outputs, "the outputs of the child run"))
        why = (
            f" in step {error.step}: {error.message}" if error and error.step else f": {error.message}" if error else ""
        )
        return self._fail(run_id, step_id, turn, ChildRunFailed(f"run {child_id} {state}{why}"), step, record)

    # --- ends ------------------------------------------------------------------------------------------------

    def _end(self, run_id: str, question: Question) -> Advance | None:
        try:
            values = render(question.step, question.scope, limit_s=self._limit_s)
            text = self._encode(values, "the outputs of the run")
        except OrchestratorError as error:
            return self._store.end_run(run_id, error=StepError(type(error).__name__, f"outputs: {error.message}"))
        return self._store.end_run(run_id, outputs=text)

    def _fail(
        self, run_id: str, step_id: str, turn: int, error: OrchestratorError, step: PlanStep | None = None,
        record: dict[str, Json] | None = None,
    ) -> Advance | None:  # fmt: skip
        delay_ms = next_delay_ms(step.retry, (record or {}).get("failures", 0) + 1, error) if step else None
        stored = step_error(error, visible_id(step_id))
        return self._store.fail_step(run_id, step_id, turn, stored, retry_delay_ms=delay_ms)

    def _encode(self, value: Json, what: str) -> str:
        return encode(value, max_bytes=self._settings.max_output_bytes, what=what)


def foreach_items(foreach: ForEach, scope: dict[str, Json], settings: Settings) -> list[str]:
    """The items of a foreach as JSON texts. Raises OrchestratorError: no list, or too long."""
    items = render(foreach.items, scope, limit_s=settings.max_expression_s)
    if not isinstance(items, list):
        raise OrchestratorError(f"foreach needs a list, and this is {kind(items)}")
    if len(items) > settings.max_foreach_items:
        raise OrchestratorError(f"foreach over {len(items):,} items; the limit is {settings.max_foreach_items:,}")
    return [json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in items]


def collect_items(items: list[dict[str, Json]], on_item_error: str) -> list[Json]:
    """The output of a foreach: its items' outputs in order. A failed item is left out (`skip`) or stands as
    `{"error": {type, message, ...}}` (`collect`)."""
    outputs = []
    for item in items:
        if item["status"] == StepState.SUCCEEDED:
            outputs.append(item["output"])
        elif on_item_error == "collect" and item["status"] == StepState.FAILED:
            outputs.append({"error": item["error"]})
    return outputs
