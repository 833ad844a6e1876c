"""The picture of a plan for the page of a run: boxes that nest as the file does, in each of them columns from left to
right. Pure. It says what stands beside what; how large that is and how it looks, the browser knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from orchestrator.workflow.pictures import purpose
from orchestrator.workflow.plan import Plan, PlanStep

Json = Any
ROOT = ""
PARTS = {"main": ".main", "on_failure": ".on_failure", "finally": ".finally"}  # their boxes; no user's id has a dot
_SWEEPS = 4  # how often the columns are put in order, there and back; more changes little
_WAYPOINTS = 4  # per unit; where a graph is so dense that it needs more, long edges go straight


@dataclass
class _Unit:
    """A step, or a box. `pairs` are units right inside it, of which the second comes after the first."""

    kind: str
    title: str
    about: str = ""
    parent: str = ROOT
    first: int = -1  # the place in the plan of the first step inside
    inside: list[str] = field(default_factory=list)
    pairs: dict[tuple[str, str], None] = field(default_factory=dict)


def picture(plan: Plan) -> dict[str, dict[str, Json]]:
    """The units of a plan by id; the box around all is ROOT.

    Each has `kind`, `title`, `about` and `parent`. A box has `columns`, lists of ids from left to right, and `edges`,
    `[from, to, waypoint, ...]`. A waypoint, `~` and a number, stands in a column as if it were a unit: there the edge
    passes between the others.
    """
    units = _Drawing(plan).units
    return {name: _json(unit, units) for name, unit in units.items()}


class _Drawing:
    """The units of a plan, made step by step."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.units = {ROOT: _Unit("all", plan.name)}
        for container, branches in plan.outline.items():
            self._make_box(container, branches)
        for step in plan.steps:
            if not (step.undoes or step.id.endswith(".item")):
                self._make(step)
        self._part()
        self._describe()
        self._put_inside()
        for step in plan.steps:
            for need in step.needs:
                self._connect(self._unit_of(need), self._unit_of(step.id))

    def _make_box(self, container: str, branches: list[list[str]]) -> None:
        """The box of a container, a box for each of its branches that is more than a step, and who stands in them."""
        step = self._plan.by_id.get(container)
        kind = step.kind if step and step.kind != "gate" else "parallel" if len(branches) > 1 else "steps"
        title = container if "." not in container else kind.replace("steps", "group")
        self._unit(container, kind, title)
        for at, members in enumerate(branches):
            name = container
            if kind == "switch" or (len(branches) > 1 and len(members) > 1):
                name = f"{container}.{at}"
                self._unit(name, "branch", "").parent = container
            for member in members:
                self._unit(member, "", member).parent = name

    def _make(self, step: PlanStep) -> None:
        unit = self._unit(self._unit_of(step.id), step.kind, step.id)
        unit.kind = unit.kind or step.kind

    def _part(self) -> None:
        """Where a workflow has phases, a box for the steps and one for each phase, one after the other."""
        phases = {step.phase for step in self._plan.steps}
        parts = {name: phase for phase, name in PARTS.items() if phase in phases}
        if len(parts) <= 1:
            return
        for name, phase in parts.items():
            self._unit(name, "phase", phase if phase != "main" else "")
        for step in self._plan.steps:
            if step.phase in PARTS and (name := self._unit_of(step.id)) in self.units:
                *_, top, _ = self._path(name)
                if top not in parts:
                    self.units[top].parent = PARTS[step.phase]
        self.units[ROOT].pairs |= dict.fromkeys(pairwise(parts))

    def _unit(self, name: str, kind: str, title: str) -> _Unit:
        return self.units.setdefault(name, _Unit(kind, title))

    def _unit_of(self, step_id: str) -> str:
        """The unit that a node of the plan is drawn as: the start or the end of a container as its box."""
        step = self._plan.by_id[step_id]
        if step.kind not in ("join", "end"):
            return step_id
        name = step_id.removesuffix(".end").removesuffix(".start")
        if name not in self.units and name.rpartition(".")[0] in self.units:
            name = name.rpartition(".")[0]  # the end of a branch that is one step
        return name if name in self.units else step_id

    def _describe(self) -> None:
        """What each unit does, under its title."""
        plan = self._plan
        undo = {step.undoes.removesuffix(".item"): step.name for step in plan.steps if step.undoes}
        for step in plan.steps:
            unit = self.units.get(step.id)
            if unit is None:
                continue
            if step.kind == "branch" and step.gate is not None:
                condition = plan.by_id[step.gate].conditions[step.branch or 0]
                unit.title = f"when {_bare(condition)}" if condition else "otherwise"
                continue
            what = purpose(plan.by_id.get(f"{step.id}.item", step))
            about = [f"for each: {what}" if step.foreach and what else "for each item" if step.foreach else what]
            about += [f"when {_bare(step.when)}"] if step.when else []
            about += [f"undo: {undo[step.id]}"] if step.id in undo else []
            unit.about = " · ".join(part for part in about if part)

    def _put_inside(self) -> None:
        for at, step in enumerate(self._plan.steps):
            name = self._unit_of(step.id)
            for above in self._path(name) if name in self.units else ():
                if self.units[above].first < 0:
                    self.units[above].first = at
        for name, unit in sorted(self.units.items(), key=lambda entry: entry[1].first):
            if name != ROOT:
                self.units[unit.parent].inside.append(name)

    def _path(self, name: str) -> Iterator[str]:
        """The unit and the boxes around it, from the inside."""
        yield name
        while name != ROOT:
            name = self.units[name].parent
            yield name

    def _connect(self, before: str, after: str) -> None:
        """An edge between the two boxes, or steps, that stand beside each other and that the two are in."""
        one, other = list(self._path(before))[::-1], list(self._path(after))[::-1]
        for at, (left, right) in enumerate(zip(one, other, strict=False)):
            if left != right:
                self.units[one[at - 1]].pairs[left, right] = None
                return


def _bare(condition: str) -> str:
    """An expression without its marks."""
    return condition.removeprefix("${{").removesuffix("}}").strip()


def _json(unit: _Unit, units: dict[str, _Unit]) -> dict[str, Json]:
    shown: dict[str, Json] = {"kind": unit.kind, "title": unit.title, "about": unit.about, "parent": unit.parent}
    if unit.inside:
        columns, edges = _columns(unit, units)
        shown |= {"columns": columns, "edges": edges}
    return shown


def _columns(box: _Unit, units: dict[str, _Unit]) -> tuple[list[list[str]], list[list[str]]]:
    """What is inside a box in columns, each unit right of all that it comes after, and the ways of the edges."""
    rank: dict[str, int] = {}
    before: dict[str, list[str]] = {name: [] for name in box.inside}
    for left, right in box.pairs:
        if units[left].first < units[right].first:  # boxes can need each other, though the steps in them do not
            before[right].append(left)
    for name in box.inside:
        rank[name] = 1 + max((rank[other] for other in before[name]), default=-1)
    columns: list[list[str]] = [[] for _ in range(1 + max(rank.values()))]
    for name in box.inside:
        columns[rank[name]].append(name)
    spans = {(left, right): range(rank[left] + 1, rank[right]) for left, right in box.pairs}
    bends = sum(map(len, spans.values())) <= _WAYPOINTS * len(box.inside)
    edges, links = [], []
    for (left, right), between in spans.items():
        way = [left]
        for column in between if bends else ():
            way.append(f"~{sum(map(len, columns))}")
            columns[column].append(way[-1])
        way.append(right)
        links += list(pairwise(way))
        edges.append([left, right, *way[1:-1]])
    _untangle(columns, links)
    return columns, edges


def _untangle(columns: list[list[str]], links: list[tuple[str, str]]) -> None:
    """Order each column by where its neighbours stand, so that few edges cross (Sugiyama's barycentres)."""
    if max(map(len, columns)) == 1:
        return
    column_of = {name: at for at, column in enumerate(columns) for name in column}
    beside: dict[tuple[str, int], list[str]] = {}
    for left, right in links:
        beside.setdefault((right, column_of[left]), []).append(left)
        beside.setdefault((left, column_of[right]), []).append(right)
    for sweep in range(_SWEEPS):
        order = range(1, len(columns)) if sweep % 2 == 0 else range(len(columns) - 2, -1, -1)
        for at in order:
            towards = at - 1 if sweep % 2 == 0 else at + 1
            place = {name: row for row, name in enumerate(columns[towards])}
            own = {name: float(row) for row, name in enumerate(columns[at])}
            for name in columns[at]:
                if others := beside.get((name, towards)):
                    own[name] = sum(place[other] for other in others) / len(others)
            columns[at].sort(key=own.__getitem__)
