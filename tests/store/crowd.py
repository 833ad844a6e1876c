"""`Crowd`: everybody who touches runs, in an order that chance makes; each move is held against the law."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TypeVar

from orchestrator.agents.decisions import Decisions, asked
from orchestrator.errors import RunOver
from orchestrator.ids import base_of
from orchestrator.records import Advance, Question, StepError
from orchestrator.settings import Settings
from orchestrator.states import TRANSITIONS, StepState
from orchestrator.store.runs import RunStore
from orchestrator.workflow.plan import Plan, PlanStep
from tests.acceptance.random_graphs import SIGNALS
from tests.conftest import KEYS

ERROR = StepError("ValueError", "no luck")
T = TypeVar("T")


class Crowd:
    """Everybody who touches a run and its children, in any order: workers, the keeper, people; messages come doubled
    and late. All decisions are the real ones; what agents answer is made up."""

    def __init__(self, store: RunStore, seed: int) -> None:
        self.store, self.random = store, random.Random(seed)
        self.decisions = _Decisions(store, Settings())
        self.messages: list[tuple[str, str]] = []
        self.undecided: list[tuple[str, str, Question | None]] = []
        self.attempts: list[tuple[str, str, int]] = []
        self.runs: list[str] = []
        self.seen: dict[tuple[str, str], StepState] = {}
        self.rounds: dict[tuple[str, str], int] = {}

    def take(self, advance: Advance | None) -> None:
        """Note what a transition made possible, and check that all moves were lawful."""
        if advance is not None:
            self.messages += [(advance.run_id, step.step_id) for step in advance.ready]
            self.undecided += asked(advance)
            if advance.question:
                assert advance.question == self.store.load_decision(advance.run_id, advance.question.step_id)
            self.runs += [advance.run_id] if advance.run_id not in self.runs else []
        for run_id in self.runs:
            self.check(run_id)

    def check(self, run_id: str) -> None:
        plan, steps = self.store.read_plan(run_id), self.store.read_steps(run_id)
        for step_id, step in steps.items():
            if step.rounds and step.rounds != self.rounds.get((run_id, step_id)):
                self.rounds[run_id, step_id] = step.rounds
                self.forget(plan, run_id, step_id)
        for step_id, step in steps.items():
            before = self.seen.get((run_id, step_id), StepState.PENDING)
            assert step.state == before or step.state in TRANSITIONS[before], f"{step_id}: {before} -> {step.state}"
            self.seen[run_id, step_id] = step.state

    def forget(self, plan: Plan, run_id: str, loop_id: str) -> None:
        """A new round: the steps inside are new."""
        base = base_of(loop_id)
        inside = {base}
        for step in plan.steps:  # in topological order, a container before what is in it
            inside |= {step.id} if step.scope in inside else set()
        for other, step_id in list(self.seen):
            at = step_id[len(base_of(step_id)) :]
            if other == run_id and base_of(step_id) in inside - {base} and at.startswith(loop_id[len(base) :]):
                del self.seen[other, step_id]

    # --- what they do ----------------------------------------------------------------------------------------

    def anything(self) -> None:
        """One thing that may happen, whether or not it makes sense now."""
        chosen = self.random.choice(
            [self.deliver] * 4 + [self.decide] * 4 + [self.end_attempt] * 3 + [self.wake, self.steer]
        )
        chosen(again=self.random.random() < 0.2)

    def deliver(self, again: bool = False) -> None:
        if self.messages:
            run_id, step_id = self._pick(self.messages, again)
            claim = self.store.claim_step(run_id, step_id, worker="w", lease_ms=0)
            if claim is not None:
                self.attempts.append((run_id, step_id, claim.attempt))
            self.take(None)

    def decide(self, again: bool = False) -> None:
        if self.undecided:
            self.take(self.decisions.decide(*self._pick(self.undecided, again)))

    def end_attempt(self, again: bool = False) -> None:
        if self.attempts:
            run_id, step_id, attempt = self._pick(self.attempts, again)
            store, how = self.store, self.random.randrange(10)
            if how == 0:
                self.take(store.lapse_lease(run_id, step_id, attempt, max_losses=3, error=ERROR))
            elif how < 3:
                delay_ms = self.random.choice([None, 0])
                self.take(store.fail_step(run_id, step_id, attempt, ERROR, retry_delay_ms=delay_ms))
            else:
                self.take(store.finish_step(run_id, step_id, attempt, '{"n": 7}'))

    def wake(self, again: bool = False) -> None:
        """What the keeper does for timers, also for some that are not due."""
        for member in self.store.client.zrange(KEYS.timers, 0, -1):
            kind, run_id, step_id, attempt = member.split(" ")
            if kind == "retry":
                self.take(self.store.wake_step(run_id, step_id, int(attempt)))
            elif kind == "decide" and again:
                self.take(self.decisions.decide(run_id, step_id))

    def steer(self, again: bool = False) -> None:
        run_id = self.random.choice(self.runs)
        store, how = self.store, self.random.randrange(12)
        try:
            if how < 5:
                self.take(store.signal_run(run_id, self.random.choice([*SIGNALS, "never"]), "1")[0])
            elif how < 11:
                self.take(store.pause_run(run_id, pause=self.random.random() < 0.5)[0])
            else:
                self.take(store.cancel_run(run_id, at_once=again))
        except RunOver:
            pass

    def _pick(self, among: list[T], again: bool) -> T:
        """One of them, which may come once more later."""
        at = self.random.randrange(len(among))
        return among[at] if again else among.pop(at)

    def work_off(self, run_id: str) -> None:
        """Do what is to be done until the run and its children are over."""
        for _ in range(3000):
            if not self.undecided and all(self.store.read_run(run).state.terminal for run in self.runs):
                return
            for run in self.runs:
                with suppress(RunOver):
                    self.take(self.store.pause_run(run, pause=False)[0])
                    for signal in SIGNALS:
                        waits = any(step.signal == signal for step in self.store.read_steps(run).values())
                        self.take(self.store.signal_run(run, signal, "1")[0] if waits else None)
            while self.messages or self.undecided or self.attempts:
                self.decide()
                self.deliver()
                self.end_attempt()
            self.wake(again=True)
        raise AssertionError(f"run {run_id} does not end: {self.store.read_steps(run_id)}")


class _Decisions(Decisions):
    def _least_loaded(self, step: PlanStep) -> str:
        return "hand"
