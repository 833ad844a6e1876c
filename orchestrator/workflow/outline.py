"""How the steps of a plan nest, for whoever shows them: containers as the file nests them, and what is side by side.

A plan keeps loops, foreach, switches and groups with a condition, and needs. What stands in a `parallel` is read from
the needs: a set of steps is taken apart into one after the other and side by side as long as it can be (the
series-parallel decomposition of the order); where it cannot, the steps stand in the order of the plan. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.workflow.plan import Phase, Plan, PlanStep

DEEPEST = 12  # levels of side by side; what is deeper stands in the order of the plan

PartKind = Literal["step", "group", "switch", "branch", "parallel", "lane"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a workflow.

    A `step` may be a loop or a foreach, and has its body as parts. A `group` has a condition, a `branch` is one of a
    `switch`. The parts of a `parallel` are side by side, all others one after the other; a `lane` is a sequence in a
    `parallel`. `name` is the id, where the plan knows it.
    """

    kind: PartKind
    name: str
    step: PlanStep | None = None
    parts: tuple[Part, ...] = ()


def outline(plan: Plan, phase: Phase = "main") -> tuple[Part, ...]:
    """The parts of a phase, one after the other. O(steps * needs), and bits of O(steps) for each of these."""
    inside: dict[str | None, list[PlanStep]] = {}
    for step in plan.steps:
        if step.phase == phase:
            inside.setdefault(step.scope, []).append(step)
    return _Outline(inside).sequence(inside.get(None, []), None)


class _Outline:
    def __init__(self, inside: dict[str | None, list[PlanStep]]) -> None:
        self._inside = inside

    def sequence(self, steps: Sequence[PlanStep], gate: str | None) -> tuple[Part, ...]:
        """The parts right inside a gate; `steps` are those of the gate's scope that are inside it, at any depth."""
        units = _units(steps, gate)
        parts = {name: part for name, members in units.items() if (part := self._part(members))}
        order = _Order(steps, {step.id: name for name in parts for step in units[name]}, list(parts))
        named = _names(steps, units)

        def made(tree: _Tree) -> Part:
            if isinstance(tree, str):
                return parts[tree]
            if tree.side_by_side:
                name = named.get(frozenset(tree.names), "")
                return Part("parallel", name, None, tuple(made(branch) for branch in tree.branches))
            return Part("lane", "", None, tuple(made(branch) for branch in tree.branches))

        return tuple(made(tree) for tree in order.sequence())

    def _part(self, members: Sequence[PlanStep]) -> Part | None:
        """What a unit shows: a step with its body, or a gate with what is inside; None: nothing."""
        head = members[0]
        if head.kind in ("gate", "switch", "branch"):
            inner = self.sequence(members[1:], head.id)
            if head.kind == "switch" and inner and inner[0].kind == "parallel":
                inner = inner[0].parts  # of its branches one is taken
            kind: PartKind = "group" if head.kind == "gate" else "switch" if head.kind == "switch" else "branch"
            return Part(kind, head.id if "." not in head.id else "", head, inner) if inner else None
        return Part("step", head.id, head, self.sequence(self._inside.get(head.id, []), None))


def _units(steps: Sequence[PlanStep], gate: str | None) -> dict[str, list[PlanStep]]:
    """What stands right inside a gate: steps, and gates with all that is inside them. Joins are no units."""
    gates = {step.id: step.gate for step in steps}
    units: dict[str, list[PlanStep]] = {}
    for step in steps:
        if step.kind in ("join", "end") or step.undoes or step.id.endswith(".item"):
            continue
        outermost = step.id
        while (around := gates.get(outermost)) is not None and around != gate:
            outermost = around
        units.setdefault(outermost, []).append(step)
    return {name: sorted(members, key=lambda step: step.id != name) for name, members in units.items()}


def _names(steps: Sequence[PlanStep], units: dict[str, list[PlanStep]]) -> dict[frozenset[str], str]:
    """Units that one join ends -> the id of their container, of those joins that the plan has kept."""
    unit_of = {step.id: name for name, members in units.items() for step in members}
    joins = {step.id: step for step in steps if step.kind == "join"}
    found: dict[frozenset[str], str] = {}
    for join in joins.values():
        name = join.id.removesuffix(".end")
        if name != join.id and "." not in name:
            members = join.body or _through(join, joins)
            found[frozenset(unit_of[member] for member in members if member in unit_of)] = name
    return found


def _through(join: PlanStep, joins: dict[str, PlanStep]) -> Iterable[str]:
    """What a join needs, other joins replaced by what they need."""
    for need in join.needs:
        if need in joins:
            yield from _through(joins[need], joins)
        else:
            yield need


@dataclass(frozen=True, slots=True)
class _Branches:
    side_by_side: bool
    branches: tuple[_Tree, ...]

    @property
    def names(self) -> Iterable[str]:
        for branch in self.branches:
            yield from ([branch] if isinstance(branch, str) else branch.names)


_Tree = str | _Branches


class _Order:
    """Which units come before which. Sets of units are bits of integers, the first unit the lowest bit."""

    def __init__(self, steps: Sequence[PlanStep], unit_of: dict[str, str], names: list[str]) -> None:
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
    unit_of: dict[str, str],
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
