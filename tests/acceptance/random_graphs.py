"""Random workflows as YAML text: any mix of steps, containers and decisions; what they need always stands above."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

RUN_IFS = ("none_failed", "all_success", "any_success", "all_done", "always")
Json = Any


@st.composite
def workflows(draw: st.DrawFn, max_steps: int = 60) -> str:
    """The text of a workflow; YAML is a superset of JSON."""
    return _Writer(draw, draw(st.integers(1, max_steps))).write()


class _Writer:
    """Draws one workflow.

    `forgiving` ones go on after every failure, so that the outcome does not depend on which branch was faster.
    """

    def __init__(self, draw: st.DrawFn, steps: int) -> None:
        self.draw = draw
        self.left = steps
        self.forgiving = draw(st.integers(0, 4)) > 0
        self.leaves: list[str] = []
        self.closed: list[str] = []
        self.containers = 0

    def write(self) -> str:
        steps = self._block(0, self.left)
        shown = self.draw(st.lists(st.sampled_from(self.leaves), max_size=6, unique=True))
        parts = ("status", "output", "attempts")
        outputs = {step: [f"${{{{ steps.{step}.{part} }}}}" for part in parts] for step in shown}
        entries = "".join(f"  - {json.dumps(step)}\n" for step in steps)
        return f"steps:\n{entries}outputs: {json.dumps(outputs)}\n"

    def _often(self, percent: int) -> bool:
        return self.draw(st.integers(0, 99)) < percent

    def _block(self, depth: int, longest: int) -> list[Json]:
        steps: list[Json] = []
        above: str | None = None
        while self.left > 0 and len(steps) < longest:
            if depth < 3 and self.left > 2 and self._often(15):
                steps.append(self._parallel(depth))
                above = None
            else:
                steps.append(self._leaf(above))
                above = steps[-1]["id"]
        return steps

    def _parallel(self, depth: int) -> Json:
        self.containers += 1
        name = f"box{self.containers}"
        step: dict[str, Json] = self._needs()
        if self._often(25):
            step["when"] = self.draw(st.booleans())
        branches = []
        for _ in range(self.draw(st.integers(1, 4))):
            block = self._block(depth + 1, self.draw(st.integers(1, 4)))
            if block:
                branches.append(block[0] if len(block) == 1 else {"steps": block})
        self.closed.append(name)
        return step | {"id": name, "parallel": branches}

    def _leaf(self, above: str | None) -> Json:
        self.left -= 1
        name = f"s{len(self.leaves)}"
        step: dict[str, Json] = {"id": name} | self._needs()
        needs = step.get("needs", [above] if above else [])
        readable = [need for need in needs if need in self.leaves]
        if self._often(15):
            step["when"] = self._condition(readable)
        if self.forgiving or self._often(30):
            step["on_error"] = "continue"
        kind = self.draw(st.sampled_from(["task"] * 6 + ["foreach"] * 2 + ["set"] * 2))
        step |= self._set(readable) if kind == "set" else self._task(readable)
        if kind == "foreach":
            step |= self._foreach(readable)
            if self._often(30):
                step["with"]["broken"] = "${{ index == 1 }}"
        self.leaves.append(name)
        return step

    def _needs(self) -> dict[str, Json]:
        """`needs` and `run_if`, or neither: then the step comes after the one above."""
        known = [*self.leaves, *self.closed]
        step: dict[str, Json] = {}
        if known and self._often(60):
            step["needs"] = self.draw(st.lists(st.sampled_from(known), unique=True, max_size=4))
        elif known and self._often(5):
            step["needs"] = []
        if step.get("needs") and self._often(40):  # a run_if that asks about needs is refused where there are none
            step["run_if"] = self.draw(st.sampled_from(RUN_IFS))
        return step

    def _condition(self, readable: list[str]) -> Json:
        if readable and self._often(50):
            return f"${{{{ steps.{self.draw(st.sampled_from(readable))}.status == 'succeeded' }}}}"
        return self.draw(st.booleans())

    def _value(self, readable: list[str]) -> Json:
        """A literal, or what some step left; to read `n` of nothing is a mistake that fails the step."""
        if not readable or self._often(20):
            return self.draw(st.integers(0, 9))
        part = self.draw(st.sampled_from(["status", "output", "attempts", "output.n", "status"]))
        return f"${{{{ steps.{self.draw(st.sampled_from(readable))}.{part} }}}}"

    def _set(self, readable: list[str]) -> dict[str, Json]:
        value = self._value(readable)
        return {"set": {"n": 1 if isinstance(value, str) and value.endswith("output }}") else value}}

    def _task(self, readable: list[str]) -> dict[str, Json]:
        values = [self._value(readable) for _ in range(self.draw(st.integers(0, 2)))]
        step: dict[str, Json] = {"agent": self.draw(st.sampled_from(["hand", "many"])), "task": "mix"}
        step["with"] = {"values": values}
        mood = self.draw(st.sampled_from(["well"] * 7 + ["flaky", "broken"]))
        if mood != "well":
            step["with"][mood] = True
        if mood == "flaky" or self._often(10):
            step["retry"] = {"max_attempts": 2, "delay": "1ms"}
        return step

    def _foreach(self, readable: list[str]) -> dict[str, Json]:
        items: Json = list(range(self.draw(st.integers(0, 5))))
        if readable and self._often(20):
            items = f"${{{{ steps.{self.draw(st.sampled_from(readable))}.output }}}}"
        on_item_error = self.draw(st.sampled_from(["fail", "collect", "skip"]))
        step: dict[str, Json] = {"foreach": items, "on_item_error": on_item_error}
        if self._often(50):
            step["max_parallel"] = self.draw(st.integers(1, 3))
        return step
