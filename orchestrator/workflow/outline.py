"""How the steps of a plan nest, for whoever shows them as a tree: containers, and what is side by side in one of them.

Containers nest as the file nests them, which the plan keeps. What one of them holds is told apart by the needs: it is
taken to pieces, one after the other and side by side, as long as it can be (the series-parallel decomposition of the
order); where it cannot, the steps stand in the order of the plan. A plan without an outline, of an earlier version, has
its loops and foreach, and no other containers. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.workflow.plan import Phase, Plan, PlanStep

DEEPEST = 12  # levels of side by side; what is deeper stands in the order of the plan

PartKind = Literal["step", "group", "switch", "branch", "parallel", "lane"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a workflow.

    A `step` may be a loop or a foreach, and has its body as parts. A `group` has a condition or an id, a `branch` is
    one of a `switch`. The parts of a `parallel` are side by side, all others one after the other; a `lane` is a
    sequence without a name. `name` is the id, where the file gives one.
    """

    kind: PartKind
    name: str
    step: PlanStep | None = None
    parts: tuple[Part, ...] = ()


def outline(plan: Plan, phase: Phase = "main") -> tuple[Part, ...]:
    """The parts of a phase, one after the other. O(steps * needs), and bits of O(steps) for each of these."""
    return _Outline(plan, phase).sequence(_TOP)


_Box = tuple[str, int]  # a container and one of its branches: what is right inside is one after the other
_TOP: _Box = ("", 0)


class _Outline:
    def __init__(self, plan: Plan, phase: Phase) -> None:
        self._plan = plan
        self._box_of = {
            member: (container, at)
            for container, branches in plan.outline.items()
            for at, members in enumerate(branches)
            for member in members
        }
        # box -> every step inside, at any depth, in the order of the plan -> the unit right inside that it is part of
        self._inside: dict[_Box, dict[str, str]] = {}
        for step in plan.steps:
            if step.phase == phase and not (step.kind == "end" or step.undoes or step.id.endswith(".item")):
                self._put(step)

    def sequence(self, box: _Box) -> tuple[Part, ...]:
        """The parts right inside a box."""
        unit_of = self._inside.get(box, {})
        parts = {name: part for name in dict.fromkeys(unit_of.values()) if (part := self._part(name))}
        shown = {step: unit for step, unit in unit_of.items() if unit in parts}
        order = _Order([self._plan.by_id[step] for step in unit_of], shown, list(parts))

        def made(tree: _Tree) -> Part:
            if isinstance(tree, str):
                return parts[tree]
            return Part("parallel" if tree.side_by_side else "lane", "", None, tuple(map(made, tree.branches)))

        return tuple(map(made, order.sequence()))

    def _put(self, step: PlanStep) -> None:
        """Note a step in every box around it."""
        unit = self._unit_of(step)
        while True:
            known = self._plan.by_id.get(unit)
            scope = known.scope if known else None
            box = self._box_of.get(unit, (scope, 0) if scope else _TOP)
            self._inside.setdefault(box, {})[step.id] = unit
            if box == _TOP:
                return
            unit = box[0]

    def _unit_of(self, step: PlanStep) -> str:
        """The unit that a step is part of: the container, for what the compiler has added to one."""
        if step.kind == "branch" and step.gate is not None:
            return step.gate
        if step.kind == "join":
            name = step.id.removesuffix(".end").removesuffix(".start")
            branch_of = name.rpartition(".")[0]
            return next((found for found in (name, branch_of) if found in self._plan.outline), step.id)
        return step.id

    def _part(self, name: str) -> Part | None:
        """What a unit shows: a step with its body, or a container with what is inside; None: nothing."""
        step = self._plan.by_id.get(name)
        if step is not None and not step.internal:
            return Part("step", name, step, self.sequence((name, 0)))
        title = name if "." not in name else ""
        branches = [(at, self.sequence((name, at))) for at in range(len(self._plan.outline.get(name, ())))]
        branches = [(at, parts) for at, parts in branches if parts]
        if not branches:
            return None
        if step is not None and step.kind == "switch":
            ways = (Part("branch", "", self._plan.by_id[f"{name}.{at}"], parts) for at, parts in branches)
            return Part("switch", title, step, tuple(ways))
        if len(branches) > 1:
            lanes = (parts[0] if len(parts) == 1 else Part("lane", "", None, parts) for _, parts in branches)
            return Part("parallel", title, step, tuple(lanes))
        return Part("group" if step or title else "lane", title, step, branches[0][1])


@dataclass(frozen=True, slots=True)
class _Branches:
    side_by_side: bool
    branches: tuple[_Tree, ...]


_Tree = str | _Branches


class _Order:
    """Which units come before which. Sets of units are bits of integers, the first unit the lowest bit."""

    def __init__(self, steps: Sequence[PlanStep], unit_of: Mapping[str, str], names: list[str]) -> None:
        self._names = names
        bits = {name: 1 << at for at, name in enumerate(names)}
        bit_of = {step.id: bits[unit_of[step.id]] for step in steps if step.id in unit_of}
        before = _reached(steps, lambda step: step.needs, bit_of, names, unit_of)
        behind = _reached(list(reversed(steps)), lambda step: step.next, bit_of, names, unit_of)
        # Two gates may each have a step that comes before one of the other's: those are not in order.
        self._compared = [before[name] ^ behind[name] for name in names]

    def sequence(self) -> tuple[_Tree, ...]:
        """All units, as a sequence of units and of what is side by side."""
        if not self._names:
            return ()
        tree = self._tree((1 << len(self._names)) - 1, 0)
        return (tree,) if isinstance(tree, str) or tree.side_by_side else tree.branches

    def _tree(self, units: int, depth: int) -> _Tree:
        if units & (units - 1) == 0:
            return self._names[units.bit_length() - 1]
        if depth < DEEPEST:
            apart = self._connected(units, lambda at: self._compared[at])
            if len(apart) > 1:
                return _Branches(True, tuple(self._tree(part, depth + 1) for part in apart))
            in_order = self._connected(units, lambda at: ~self._compared[at])
            if len(in_order) > 1:
                return _Branches(False, tuple(self._tree(part, depth + 1) for part in in_order))
        return _Branches(False, tuple(self._names[at] for at in _places(units)))

    @staticmethod
    def _connected(units: int, related: Callable[[int], int]) -> list[int]:
        """The units in sets that no relation connects, by the first unit of each."""
        found = []
        while units:
            part = todo = units & -units
            while todo:
                at = todo.bit_length() - 1
                new = related(at) & units & ~part
                part |= new
                todo = todo ^ (1 << at) | new
            found.append(part)
            units &= ~part
        return found


def _places(units: int) -> Iterable[int]:
    while units:
        yield (units & -units).bit_length() - 1
        units &= units - 1


def _reached(
    steps: Sequence[PlanStep],
    ways: Callable[[PlanStep], Iterable[str]],
    bit_of: dict[str, int],
    names: Sequence[str],
    unit_of: Mapping[str, str],
) -> dict[str, int]:
    """unit -> the units that its steps lead to. `steps`: in an order in which the ways of each come before it."""
    reached: dict[str, int] = {}
    units = dict.fromkeys(names, 0)
    for step in steps:
        found = 0
        for other in ways(step):
            found |= reached.get(other, 0) | bit_of.get(other, 0)
        reached[step.id] = found
        if step.id in unit_of:
            units[unit_of[step.id]] |= found & ~bit_of[step.id]
    return units
