"""The tree of a run that goes on, as lines: what nests how, and what stands in the lines there is room for.

Pure: entries and a height go in, lines come out; `drawing.py` puts them on a terminal. Where a workflow has more steps
than the terminal lines, the room goes to what failed, runs or waits, then to what ended last, then to what comes next;
the rest is folded into counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from orchestrator.cli.entries import Entry, Item
from orchestrator.cli.nodes import FAILED, Counts, Node, choose
from orchestrator.cli.progress import Progress
from orchestrator.cli.remarks import NOTHING, Remark, about_entry
from orchestrator.states import RunState, StepState
from orchestrator.workflow.outline import Part, outline
from orchestrator.workflow.plan import Phase, Plan, PlanStep

PHASES: dict[Phase, str] = {"compensate": "undoing", "on_failure": "on failure", "finally": "finally"}
_ACTIVE = (StepState.RUNNING, StepState.WAITING, StepState.FAILED)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: where it stands in the tree, what it is about, and how far that is.

    `guide` is drawn of `├ │ └` and blanks. A line for what is folded has no name, only a remark; so has one with what
    to type about the step above it.
    """

    guide: str
    state: StepState
    name: str
    agent: str = ""
    spent_ms: int | None = None
    remark: Remark = NOTHING


class Tree:
    """The tree of one run, made anew as often as it is drawn."""

    def __init__(self, plan: Plan, run_id: str) -> None:
        self._plan = plan
        self._parts = outline(plan)
        self._run_id = run_id
        self._needs: dict[str, tuple[str, ...]] = {}

    def lines(
        self, progress: Progress, room: int, now: int, served: Collection[str] | None = None
    ) -> tuple[list[Line], Counts]:
        """At most `room` lines, and how many steps are how far.

        Args:
            now: by the server's clock.
            served: agents that a worker serves now; None: not known.
        """
        root = _Growth(self, progress, served).root(self._parts)
        root.gather()
        choose(root, room)
        return list(self._emit(root, "", "", now))[:room], root.counts

    def visible_needs(self, step: PlanStep) -> tuple[str, ...]:
        """What a step needs, gates and joins replaced by what they need."""
        if step.id not in self._needs:
            found, seen, todo = [], set(step.needs), list(step.needs)
            while todo:
                need = self._plan.by_id[todo.pop()]
                further = [name for name in need.needs if need.internal and name not in seen]
                seen.update(further)
                todo.extend(further)
                found += [] if need.internal else [need.id]
            self._needs[step.id] = tuple(found)
        return self._needs[step.id]

    def title(self, part: Part) -> str:
        """What stands in the line of a container."""
        if part.kind == "branch" and part.step is not None:
            condition = self._plan.by_id[part.step.gate or ""].conditions[part.step.branch or 0]
            return f"when {condition.removeprefix('${{').removesuffix('}}').strip()}" if condition else "default"
        return f"{part.name} ({part.kind})" if part.name else part.kind

    def _emit(self, node: Node, first: str, rest: str, now: int) -> Iterator[Line]:
        """The lines of a node that is shown. `first` is the guide of its first line, `rest` that of the others."""
        if node.own:
            line = self._line(node, first, now)
            yield line
            if line.remark.command:
                yield Line(rest, line.state, "", remark=Remark(command=line.remark.command))
            first = rest
        shown = [child for child in node.children if child.shown]
        if node.own and not shown:
            return
        over, more = node.folds()
        pieces: list[Node | Counts] = [*([over] if over else []), *shown, *([more] if more else [])]
        forks = node.kind in ("parallel", "switch", "foreach")
        indent = "  " if node.own else ""
        for at, piece in enumerate(pieces):
            if forks:
                last = at == len(pieces) - 1
                begin, go_on = rest + ("└ " if last else "├ "), rest + ("  " if last else "│ ")
            else:
                begin, go_on = (rest if at else first) + indent, rest + indent
            if isinstance(piece, Node):
                yield from self._emit(piece, begin, go_on, now)
            else:
                text = piece.in_words("" if piece is over or not shown else " more")
                yield Line(begin, piece.state, "", remark=Remark(text))

    def _line(self, node: Node, guide: str, now: int) -> Line:
        entry = node.entry
        if entry is None:
            counts = node.counts
            failed = f", {counts[FAILED]} failed" if counts[FAILED] else ""
            words = "" if node.kind == "item" else f"{counts.over} of {counts.total}{failed}"
            return Line(guide, counts.state, node.name, remark=Remark(words))
        state = StepState.WAITING if node.unserved else entry.state
        spent = (entry.finished_at or now) - entry.started_at if entry.started_at is not None else None
        remark = about_entry(entry, self._run_id, now, ready=node.ready, unserved=node.unserved)
        return Line(guide, state, node.name, entry.name, spent, remark)


class _Growth:
    """Makes the nodes of one drawing."""

    def __init__(self, tree: Tree, progress: Progress, served: Collection[str] | None) -> None:
        self._tree = tree
        self._progress = progress
        self._served = served
        self._goes_on = progress.state in (RunState.PENDING, RunState.RUNNING) and not progress.remark

    def root(self, parts: tuple[Part, ...]) -> Node:
        root = Node("root", "")
        for part in parts:
            root.add(self._of_part(part))
        late: dict[str, Node] = {}
        for entry in self._progress.entries.values():
            if entry.step.phase != "main":
                if entry.step.phase not in late:
                    late[entry.step.phase] = Node("group", PHASES[entry.step.phase])
                    root.add(late[entry.step.phase])
                late[entry.step.phase].add(self._of_entry(entry, entry.step.id))
        return root

    def _of_part(self, part: Part) -> Node:
        if part.kind == "step":
            node = self._of_entry(self._progress.entries[part.name], part.name)
            if node.kind == "foreach" or part.step is None or part.step.foreach is not None:
                return node  # its items are what is inside
        else:
            node = Node(part.kind, self._tree.title(part))
        for inner in part.parts:
            node.add(self._of_part(inner))
        return node

    def _of_entry(self, entry: Entry, name: str) -> Node:
        foreach = entry.items is not None and entry.step.foreach is not None
        node = Node("foreach" if foreach else "step", name, entry)
        node.ready = self._is_ready(entry)
        node.unserved = node.ready and self._served is not None and entry.step.agent not in self._served
        if entry.items is not None:
            for number, item in sorted((*entry.items.bad.items(), *entry.items.live.items())):
                node.add(self._of_item(f"[{number}]", item, entry))
        return node

    def _of_item(self, label: str, item: Item, around: Entry) -> Node:
        """Its only step, or what goes on in it; a step that goes on alone shares the item's line."""
        whole = item.entries.get(around.step.id)
        if whole is not None:
            return self._of_entry(whole, label)
        found = [entry for entry in item.entries.values() if entry.state in _ACTIVE or self._is_ready(entry)]
        if len(found) == 1:
            return self._of_entry(found[0], f"{label} {found[0].step.id}")
        node = Node("item", label)
        for entry in found:
            node.add(self._of_entry(entry, entry.step.id))
        return node

    def _is_ready(self, entry: Entry) -> bool:
        """Whether only a worker is missing: everything the step needs is over."""
        if entry.state is not StepState.PENDING or not entry.step.agent or not self._goes_on:
            return False
        if entry.id.endswith("]"):
            return True  # what is inside an item has an entry only once it has come up
        entries = self._progress.entries
        loop = entries.get(entry.step.within or "")
        if loop is not None and (loop.state is not StepState.RUNNING or loop.rounds is None):
            return False
        return all(entries[need].state.terminal for need in self._tree.visible_needs(entry.step) if need in entries)
