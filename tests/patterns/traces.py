"""Traces of runs as `docs/patterns.md` shows them, and what that document says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator import RunHandle, StepState
from orchestrator.records import StepError
from orchestrator.testing import SimulatedRun, simulate
from tests.patterns.agents import clerk, surveyor

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "workflows/patterns"
DOCUMENT = (ROOT / "docs/patterns.md").read_text("utf-8")
Line = tuple[str, str, str]


def file_of(number: int) -> Path:
    """The workflow that shows a pattern: the first of its files that is no child of another."""
    return next(file for file in sorted(FOLDER.glob(f"wcp{number:02}_*.yaml")) if not is_child(file))


def is_child(file: Path) -> bool:
    return any(f"workflow: {file.name}" in other.read_text("utf-8") for other in FOLDER.glob("*.yaml"))


def play(
    number: int, inputs: Mapping[str, Any] | None = None, signals: Mapping[str, Any] | None = None
) -> SimulatedRun:
    """Simulate the workflow of a pattern."""
    return simulate(file_of(number), inputs, agents=[clerk, surveyor], signals=signals)


def simulated_trace(
    run: SimulatedRun, inputs: Mapping[str, Any] | None = None, signals: Mapping[str, Any] | None = None
) -> str:
    """Each step with its status, its end where time passes, and why; the run; the attempts in their order."""
    given = {"inputs": inputs, "signals": signals}
    lines: list[Line] = [(word, json.dumps(values), "") for word, values in given.items() if values]
    for step_id, step in run.steps.items():
        if step_id.partition("[")[0] in run.steps and step_id.endswith("]") and not step.attempts:
            continue  # one item as a whole; its steps are shown
        ran = run.duration_s and step.finished_s is not None and step.status is not StepState.SKIPPED
        end = f"at {step.finished_s:g} s" if ran else ""
        lines.append((step_id, step.status.value, _why(end, step.reason, step.error)))
    lines.append(("run", run.status.value, f"at {run.duration_s:g} s" if run.duration_s else ""))
    if run.order:
        lines.append(("ran", ", ".join(run.order), ""))
    return _layout(lines)


def live_trace(run: RunHandle) -> str:
    """Each step with its status and why, those of child runs included."""
    return _layout([*_steps(run, ""), ("run", run.status().value, "")])


def _steps(run: RunHandle, prefix: str) -> list[Line]:
    lines: list[Line] = []
    for step in run.steps():
        lines.append((prefix + step.id, step.state.value, _why("", step.reason, step.error)))
        if step.child:
            lines += _steps(run._client.run(step.child), f"{step.id}/")
    return lines


def _why(end: str, reason: str | None, error: StepError | None) -> str:
    return ", ".join(part for part in (end, reason, error.type if error else None) if part)


def _layout(lines: list[Line]) -> str:
    name_width = max(len(line[0]) for line in lines)
    state_width = max(len(state.value) for state in StepState)
    return "\n".join(f"{name:{name_width}}  {state:{state_width}}  {why}".rstrip() for name, state, why in lines)


def sections() -> dict[int, str]:
    """number of a claimed pattern -> its section of the document."""
    found = re.split(r"^### WCP-(\d+) ", DOCUMENT, flags=re.MULTILINE)
    return {int(number): text for number, text in zip(found[1::2], found[2::2], strict=True)}


def documented(number: int) -> list[str]:
    """The traces that the document shows for a pattern."""
    return re.findall(r"^```text\n(.*?)\n```$", sections()[number], re.DOTALL | re.MULTILINE)
