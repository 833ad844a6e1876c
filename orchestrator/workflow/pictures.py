"""Pictures of a plan: Mermaid for Markdown, DOT for Graphviz, plain text for a terminal."""

from __future__ import annotations

from orchestrator.workflow.nearby import listed
from orchestrator.workflow.plan import Plan, PlanStep

FORMATS = ("mermaid", "dot", "text")
_MERMAID_SHAPES = {
    "task": '["{}"]', "foreach": '[["{}"]]', "set": '("{}")', "gate": '{"{}"}', "join": '(("{}"))',
}  # fmt: skip
_DOT_SHAPES = {"task": "box", "foreach": "box3d", "set": "ellipse", "gate": "diamond", "join": "point"}


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
    numbers = {step.id: f"n{at}" for at, step in enumerate(plan.steps)}
    nodes = [
        f"  {numbers[step.id]}" + _MERMAID_SHAPES[step.kind].replace("{}", _mermaid_text(step)) for step in plan.steps
    ]
    edges = [
        f"  {numbers[need]} {'-.->' if step.when else '-->'} {numbers[step.id]}"
        for step in plan.steps for need in step.needs
    ]  # fmt: skip
    return ["flowchart TD", *nodes, *edges]


def _mermaid_text(step: PlanStep) -> str:
    # Entities of Mermaid are written #name; so `#` goes first.
    return "<br/>".join(
        line.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
        for line in _label(step)
    )


def _dot(plan: Plan) -> list[str]:
    nodes = [
        f"  {_quoted(step.id)} [shape={_DOT_SHAPES[step.kind]}, label={_quoted(chr(10).join(_label(step)))}];"
        for step in plan.steps
    ]
    edges = [
        f"  {_quoted(need)} -> {_quoted(step.id)}{' [style=dashed]' if step.when else ''};"
        for step in plan.steps for need in step.needs
    ]  # fmt: skip
    return [f"digraph {_quoted(plan.name)} {{", "  rankdir=TB;", *nodes, *edges, "}"]


def _text(plan: Plan) -> list[str]:
    """One line for each step, with its level: how many steps are done one after the other before it, itself counted."""
    users = [step for step in plan.steps if not step.internal]
    width = max((len(step.id) for step in users), default=0)
    depth: dict[str, int] = {}
    lines = [plan.name + (f" (version {plan.version})" if plan.version else "")]
    for step in plan.steps:
        before = max((depth[need] for need in step.needs), default=0)
        depth[step.id] = before if step.internal else before + 1
        if not step.internal:
            needs = _visible(plan, step)
            what = " ".join(_label(step)[1:])
            lines.append(
                f"{depth[step.id]:>4}  {step.id:<{width}}  {what}{f'  <- {listed(needs)}' if needs else ''}".rstrip()
            )
    return lines


def _visible(plan: Plan, step: PlanStep) -> list[str]:
    """What a step needs, with the ends of containers as the steps before them."""
    names: dict[str, None] = {}
    todo = list(reversed(step.needs))
    while todo:
        need = plan.by_id[todo.pop()]
        if need.kind == "join":
            todo.extend(reversed(need.needs))
        else:
            names[need.id] = None
    return list(names)


def _label(step: PlanStep) -> list[str]:
    """The id, what the step does, and its condition."""
    lines = [step.id]
    if step.agent:
        lines.append(f"{'for each: ' if step.kind == 'foreach' else ''}{step.name}")
    elif step.kind == "set":
        lines.append("set")
    if step.when:
        lines.append(f"when {step.when}")
    return lines


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
