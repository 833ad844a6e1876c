"""Random workflows, against a second way to say what must come before what."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.workflow.plan import Plan, step_from_json, step_to_json
from orchestrator.workflow.segments import Fan, dispatch_table, segments
from tests.unit.workflow.texts import TEAM, plan_of

#: One example is a whole workflow.
few = settings(max_examples=20, deadline=None)


@st.composite
def workflows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Nested steps of all kinds; written needs name anything that ended before."""
    ids: list[str] = []
    closed: list[str] = []

    def block(depth: int, most: int) -> list[dict[str, Any]]:
        return [step(depth) for _ in range(draw(st.integers(1, most if len(ids) < 25 else 1)))]

    def step(depth: int) -> dict[str, Any]:
        name = f"s{len(ids)}"
        ids.append(name)
        kind = draw(
            st.sampled_from(
                ["task", "task", "task", "set", "foreach", *(["parallel"] * 3 if depth < 3 and len(ids) < 25 else [])]
            )
        )
        made: dict[str, Any] = {"id": name}
        if draw(st.integers(0, 3)) == 0:
            made["needs"] = draw(st.lists(st.sampled_from(closed), unique=True, max_size=3)) if closed else []
        if draw(st.integers(0, 4)) == 0:
            made["when"] = True
        if draw(st.integers(0, 6)) == 0:
            made["run_if"] = draw(st.sampled_from(["all_done", "none_failed", "always"]))
        if kind == "parallel":
            branches = range(draw(st.integers(1, 3)))
            made["parallel"] = [
                {"steps": block(depth + 1, 3)} if draw(st.booleans()) else step(depth + 1) for _ in branches
            ]
        else:
            made |= {"set": {"v": 1}} if kind == "set" else {"agent": "clerk"}
            made |= {"foreach": [1, 2]} if kind == "foreach" else {}
        closed.append(name)
        return made

    return block(0, 5)


def compiled(steps: list[dict[str, Any]]) -> Plan:
    return plan_of(json.dumps({"name": "random", "steps": steps}), TEAM)


class Order:
    """Which steps must be done before a step, told from the file without joins and gates."""

    def __init__(self, steps: list[dict[str, Any]]) -> None:
        self.leaves: dict[str, set[str]] = {}
        self.needs: dict[str, set[str]] = {}
        self._collect(steps)
        self._block(steps, set(), set())

    def before(self, name: str) -> set[str]:
        found: set[str] = set()
        todo = list(self.needs[name])
        while todo:
            need = todo.pop()
            if need not in found:
                found.add(need)
                todo.extend(self.needs[need])
        return found

    def _collect(self, steps: list[dict[str, Any]]) -> set[str]:
        inside: set[str] = set()
        for step in steps:
            if "parallel" in step:
                leaves = self._collect([s for b in step["parallel"] for s in b.get("steps", [b])])
            else:
                leaves = {step["id"]}
            self.leaves[step["id"]] = leaves
            inside |= leaves
        return inside

    def _block(self, steps: list[dict[str, Any]], after: set[str], gated: set[str]) -> None:
        for step in steps:
            needs = set().union(*(self.leaves[n] for n in step["needs"])) if "needs" in step else set(after)
            needs |= gated
            if "parallel" in step:
                inner = needs if "when" in step or "run_if" in step or step.get("needs") else gated
                for branch in step["parallel"]:
                    self._block(branch.get("steps", [branch]), needs, inner)
            else:
                self.needs[step["id"]] = needs
            after = self.leaves[step["id"]]


def before_in_plan(plan: Plan) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for step in plan.steps:
        found[step.id] = set().union(*(found[need] | {need} for need in step.needs)) if step.needs else set()
    users = {step.id for step in plan.steps if not step.internal}
    return {name: needs & users for name, needs in found.items() if name in users}


@few
@given(workflows())
def test_a_plan_asks_for_exactly_the_order_of_the_file(steps: list[dict[str, Any]]) -> None:
    order = Order(steps)
    assert before_in_plan(compiled(steps)) == {name: order.before(name) for name in order.needs}


@few
@given(workflows())
def test_needs_and_next_agree_and_stand_in_topological_order(steps: list[dict[str, Any]]) -> None:
    plan = compiled(steps)
    seen: set[str] = set()
    for step in plan.steps:
        assert set(step.needs) <= seen
        assert len(set(step.needs)) == len(step.needs)
        assert all(step.id in plan.by_id[need].next for need in step.needs)
        assert all(step.id in plan.by_id[name].needs for name in step.next)
        assert step.gate is None or plan.by_id[step.gate].kind == "gate"
        seen.add(step.id)
    assert len(seen) == len(plan.steps)


@few
@given(workflows(), st.integers(1, 5), st.integers(0, 4))
def test_segments_cover_every_step_that_is_dispatched_once(
    steps: list[dict[str, Any]], window: int, width: int
) -> None:
    plan = compiled(steps)
    dispatched = {step.id for step in plan.steps if step.dispatched}
    pieces = [
        piece
        for segment in segments(plan, window=window, chord_width=width)
        for piece in (segment.header if isinstance(segment, Fan) else (segment,))
    ]
    named = [name for piece in pieces for name in piece.steps]
    assert sorted(named) == sorted(dispatched)
    table = dispatch_table(plan, window=window, chord_width=width)
    assert set(table) == dispatched
    for name, entry in table.items():
        chain = [sig[0] for sig in entry["chain"]]
        assert chain[0] == name
        assert len(chain) <= window
        for first, second in pairwise(chain):
            assert plan.by_id[first].next == (second,)
            assert plan.by_id[second].needs == (first,)
        if "fan" in entry:
            assert 2 <= entry["fan"]["width"] <= width
            assert plan.by_id[chain[-1]].next == (entry["fan"]["body"][0],)


@few
@given(workflows())
def test_a_plan_survives_json_and_keeps_its_hash(steps: list[dict[str, Any]]) -> None:
    plan = compiled(steps)
    assert compiled(json.loads(json.dumps(steps))).hash == plan.hash
    for step in plan.steps:
        assert step_from_json(json.loads(json.dumps(step_to_json(step)))) == step
