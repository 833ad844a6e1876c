"""What a file says about its runs as a whole: keys, limits, schedule, retention, tests. Checked here."""

from __future__ import annotations

from typing import Any

from orchestrator.workflow.children import Children
from orchestrator.workflow.cron import problem_of_cron, problem_of_zone
from orchestrator.workflow.expressions import check, references
from orchestrator.workflow.graph import Graph
from orchestrator.workflow.inputs import check_declaration, input_schema, wrong_value
from orchestrator.workflow.loader import LoadedWorkflow, Place
from orchestrator.workflow.nearby import did_you_mean, listed
from orchestrator.workflow.plan import PlanStep, Policies
from orchestrator.workflow.schemas import MAX_VALUES, problem_of, values_in
from orchestrator.workflow.spec import Case, Workflow

Json = Any


def policies(spec: Workflow) -> Policies:
    """The policies as the plan keeps them."""
    once, slots = spec.idempotency, spec.concurrency
    return Policies(
        idempotency_key=once.key if once else None,
        idempotency_ttl_ms=once.ttl if once else 0,
        reject_duplicate=bool(once and once.on_duplicate == "reject"),
        concurrency_key=slots.key if slots else None,
        max_runs=slots.max_runs if slots else 1,
        on_limit=slots.on_limit if slots else "queue",
        keep_succeeded_ms=spec.retention.succeeded,
        keep_failed_ms=spec.retention.failed,
    )


def check_file(loaded: LoadedWorkflow, graph: Graph, steps: list[PlanStep], children: Children) -> None:
    """Add what is wrong outside of the steps to the problems of the graph."""
    spec = loaded.spec
    for name, declared in spec.inputs.items():
        graph.problems += [(("inputs", name, *place), text) for place, text in check_declaration(declared)]
    for word, part in (("idempotency", spec.idempotency), ("concurrency", spec.concurrency)):
        if part is not None:
            graph.problems += [((word, "key"), text) for text in _wrong_key(part.key, spec)]
    if spec.schedule is not None:
        wrong = problem_of_zone(spec.schedule.timezone)
        if wrong:
            graph.problems.append((("schedule", "timezone"), wrong))
        elif wrong := problem_of_cron(spec.schedule.cron, spec.schedule.timezone):
            graph.problems.append((("schedule", "cron"), wrong))
        _check_values(("schedule", "inputs"), spec.schedule.inputs, spec, graph, complete=True)
    left = MAX_VALUES
    for step in steps:
        if step.output_schema is None:
            continue
        left -= values_in(step.output_schema)
        wrong = problem_of(step.output_schema) if left >= 0 else f"makes more than {MAX_VALUES:,} values in schemas"
        if wrong:
            graph.problems.append(((*graph.nodes[step.id].place, "output_schema"), wrong))
    known = [step.id for step in steps if not step.internal]
    for at, case in enumerate(spec.tests):
        _check_case(("tests", at), case, spec, graph, known)


def _wrong_key(key: str, spec: Workflow) -> list[str]:
    """A key of runs is known before the run, so it may read the inputs and nothing else."""
    wrong = check(key)
    found = references(key)
    wrong += [
        f"{name!r} is not known before the run; a key may read only `inputs`"
        for name in sorted(found.names - {"inputs"})
    ]
    unknown = sorted((found.inputs or frozenset()) - spec.inputs.keys())
    return wrong + [f"no input {name!r}{did_you_mean(name, spec.inputs)}" for name in unknown]


def _check_values(place: Place, given: dict[str, Json], spec: Workflow, graph: Graph, *, complete: bool) -> None:
    for name, value in given.items():
        if name not in spec.inputs:
            near = did_you_mean(name, spec.inputs) or (f"; there is {listed(spec.inputs)}" if spec.inputs else "")
            graph.problems.append(((*place, name), f"no input {name!r}{near}"))
        elif wrong := wrong_value(value, input_schema(spec.inputs[name])):
            graph.problems.append(((*place, name), wrong))
    missing = [name for name, declared in spec.inputs.items() if declared.required and name not in given]
    if complete and missing:
        graph.missing(place[:-1], f"the workflow needs {listed(map(repr, missing))} under `inputs`")


def _check_case(place: Place, case: Case, spec: Workflow, graph: Graph, known: list[str]) -> None:
    _check_values((*place, "inputs"), case.inputs, spec, graph, complete=True)
    named: list[tuple[Place, str]] = [(("mock", name), name) for name in case.mock]
    for word in ("skipped", "ran"):
        named += [(("expect", word, number), name) for number, name in enumerate(getattr(case.expect, word) or ())]
    for where, name in named:
        if name.partition("[")[0] not in known:
            near = did_you_mean(name, known) or f"; there is {listed(known)}"
            graph.problems.append(((*place, *where), f"no step {name!r}{near}"))
