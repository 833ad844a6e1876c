"""Pictures of a plan: Mermaid for Markdown, DOT for Graphviz, plain text for a terminal."""

from __future__ import annotations

from orchestrator.workflow.nearby import listed
from orchestrator.workflow.plan import Plan, PlanStep
from orchestrator.workflow.times import format_duration

FORMATS = ("mermaid", "dot", "text")
_MERMAID_SHAPES = {
    "task": '["{}"]', "foreach": '[["{}"]]', "loop": '[["{}"]]', "set": '("{}")', "gate": '{"{}"}', "switch": '{"{}"}',
    "branch": '(["{}"])', "wait": '{{"{}"}}', "workflow": '[/"{}"/]', "stop": '((("{}")))', "join": '(("{}"))',
}  # fmt: skip
_DOT_SHAPES = {
    "task": "box", "foreach": "box3d", "loop": "box3d", "set": "ellipse", "gate": "diamond", "switch": "diamond",
    "branch": "plaintext", "wait": "hexagon", "workflow": "folder", "stop": "doublecircle", "join": "point",
}  # fmt: skip
_INSIDE = {"loop": "each round of", "foreach": "each item of"}


def graph(plan: Plan, format: str = "text") -> str:
    """The picture, without a newline at the end.

    Raises:
        ValueError: a format that is none of `FORMATS`.
    """
    drawings = {"mermaid": _mermaid, "dot": _dot, "text": _text}
    if format not in drawings:
        raise ValueError(f"no format {format!r}: choose {', '.join(FORMATS)}")
    return "\n".join(drawings[format](plan))


def _mermaid(plan: Plan) -> list[str]:
    # Ids of users may be words of Mermaid ("end"), so nodes are numbered and the labels say what they are.
    shown, undo = _shown(plan), _undo(plan)
    bodies = _bodies(shown)
    numbers = {step.id: f"n{at}" for at, step in enumerate(shown)}

    def block(title: str, steps: list[PlanStep], number: str) -> list[str]:
        inside = [line for step in steps for line in node(step)]
        return [f'  subgraph {number}["{_mermaid_text([title])}"]', *(f"  {line}" for line in inside), "  end"]

    def node(step: PlanStep) -> list[str]:
        name = numbers[step.id]
        lines = [f"  {name}" + _MERMAID_SHAPES[step.kind].replace("{}", _mermaid_text(_label(step, plan, undo)))]
        if body := bodies.get(step.id):
            lines += block(f"{_INSIDE[step.kind]} {step.id}", body, f"{name}b")
        return lines

    lines = [line for step in _top(shown, "main") for line in node(step)]
    for phase in ("on_failure", "finally"):
        if steps := _top(shown, phase):
            lines += block(phase, steps, phase.replace("finally", "at_last"))
    edges = [f"  {numbers[a]} {'-.->' if dashed else '-->'} {numbers[b]}" for a, b, dashed in _edges(plan, shown)]
    return ["flowchart TD", *lines, *edges]


def _mermaid_text(lines: list[str]) -> str:
    # Entities of Mermaid are written #name; so `#` goes first.
    return "<br/>".join(
        line.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;") for line in lines
    )


def _dot(plan: Plan) -> list[str]:
    shown, undo = _shown(plan), _undo(plan)
    bodies = _bodies(shown)

    def block(title: str, steps: list[PlanStep]) -> list[str]:
        inside = [f"  {line}" for step in steps for line in node(step)]
        return [f"  subgraph {_quoted('cluster ' + title)} {{", f"    label={_quoted(title)};", *inside, "  }"]

    def node(step: PlanStep) -> list[str]:
        label = _quoted(chr(10).join(_label(step, plan, undo)))
        lines = [f"  {_quoted(step.id)} [shape={_DOT_SHAPES[step.kind]}, label={label}];"]
        if body := bodies.get(step.id):
            lines += block(f"{_INSIDE[step.kind]} {step.id}", body)
        return lines

    lines = [line for step in _top(shown, "main") for line in node(step)]
    for phase in ("on_failure", "finally"):
        if steps := _top(shown, phase):
            lines += block(phase, steps)
    edges = [
        f"  {_quoted(a)} -> {_quoted(b)}{' [style=dashed]' if dashed else ''};" for a, b, dashed in _edges(plan, shown)
    ]
    return [f"digraph {_quoted(plan.name)} {{", "  rankdir=TB;", *lines, *edges, "}"]


def _shown(plan: Plan) -> list[PlanStep]:
    """The steps that are drawn: a foreach stands for its only step, a step for its compensation, a body for its end."""
    return [step for step in plan.steps if step.kind != "end" and not step.undoes and not step.id.endswith(".item")]


def _undo(plan: Plan) -> dict[str, str]:
    """step id -> what undoes it."""
    return {step.undoes.removesuffix(".item"): step.name for step in plan.steps if step.undoes}


def _bodies(shown: list[PlanStep]) -> dict[str, list[PlanStep]]:
    """container -> the steps right inside it."""
    bodies: dict[str, list[PlanStep]] = {}
    for step in shown:
        if step.scope is not None:
            bodies.setdefault(step.scope, []).append(step)
    return bodies


def _top(shown: list[PlanStep], phase: str) -> list[PlanStep]:
    return [step for step in shown if step.phase == phase and step.scope is None]


def _edges(plan: Plan, shown: list[PlanStep]) -> list[tuple[str, str, bool]]:
    """(from, to, whether it is dashed: a condition, or the way into a body)."""
    ids = {step.id for step in shown}
    edges = [(need, step.id, step.when is not None) for step in shown for need in step.needs]
    return edges + [(step.id, first, True) for step in shown for first in step.entry if first in ids]


def _text(plan: Plan) -> list[str]:
    """One line for each step, with its level: how many steps are done one after the other before it, itself counted."""
    depth: dict[str, int] = {}
    rows: list[tuple[PlanStep, str]] = []
    for step in plan.steps:
        before = max((depth[need] for need in step.needs), default=depth[step.scope] if step.scope else 0)
        depth[step.id] = before if step.internal else before + 1
        rows.append((step, "  " * _nesting(step, plan) + step.id))
    shown, undo = {step.id for step in _shown(plan)}, _undo(plan)
    rows = [(step, name) for step, name in rows if step.id in shown and not step.internal]
    width = max((len(name) for _, name in rows), default=0)
    lines = [plan.name + (f" (version {plan.version})" if plan.version else "")]
    phase = "main"
    for step, name in sorted(rows, key=lambda row: ("main", "on_failure", "finally").index(row[0].phase)):
        if step.phase != phase:
            phase = step.phase
            lines.append(phase)
        needs = _visible(plan, step)
        what = " ".join(_label(step, plan, undo)[1:])
        lines.append(f"{depth[step.id]:>4}  {name:<{width}}  {what}{f'  <- {listed(needs)}' if needs else ''}".rstrip())
    return lines


def _nesting(step: PlanStep, plan: Plan) -> int:
    return 0 if step.scope is None else 1 + _nesting(plan.by_id[step.scope], plan)


def _visible(plan: Plan, step: PlanStep) -> list[str]:
    """What a step needs, with the ends of containers as the steps before them."""
    names: dict[str, None] = {}
    todo = list(reversed(step.needs))
    while todo:
        need = plan.by_id[todo.pop()]
        if need.kind in ("join", "branch"):
            todo.extend(reversed(need.needs))
        else:
            names[need.id] = None
    return list(names)


def _label(step: PlanStep, plan: Plan, undo: dict[str, str]) -> list[str]:
    """The id, what the step does, and its condition."""
    if step.kind == "branch":
        condition = plan.by_id[step.gate or ""].conditions[step.branch or 0]
        return [f"when {condition}" if condition else "default"]
    lines = [step.id.removesuffix(".end") if step.enough else step.id]
    only = plan.by_id.get(f"{step.id}.item")
    what = purpose(only or step)
    if step.foreach is not None:
        what = f"for each: {what}" if what else "for each item"
    enough = step.foreach.enough if step.foreach else step.enough
    lines += [what] if what else []
    lines += [f"enough: {enough}"] if enough else []
    lines += [f"when {step.when}"] if step.when else []
    lines += [f"undo: {undo[step.id]}"] if step.id in undo else []
    return lines


def purpose(step: PlanStep) -> str:
    """What a step does, in a few words; nothing for a container that only holds others."""
    if step.agent:
        return step.name
    if step.loop is not None:
        return f"loop until {step.loop.until}, at most {step.loop.max_iterations} rounds"
    if step.wait is not None:
        wait = step.wait
        if wait.signal is not None:
            return f"wait for the signal {wait.signal}"
        return f"wait until {wait.until}" if wait.until else f"wait {_span(wait.duration)}"
    if step.end is not None:
        return f"end: {step.end.status}"
    if step.kind == "workflow":
        return f"workflow {step.file}"
    return step.kind if step.kind in ("set", "switch") else ""


def _span(duration: int | str) -> str:
    return duration if isinstance(duration, str) else format_duration(duration)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
