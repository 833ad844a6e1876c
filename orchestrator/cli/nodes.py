"""The nodes of the tree that is drawn, and which of them are shown where there is no room for all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Literal

from orchestrator.cli.entries import Entry
from orchestrator.states import StepState

NodeKind = Literal["root", "step", "foreach", "item", "group", "switch", "branch", "parallel", "lane"]

DONE, SKIPPED, FAILED, RUNNING, WAITING, PENDING = range(6)
_PLACE = {
    StepState.SUCCEEDED: DONE, StepState.SKIPPED: SKIPPED, StepState.CANCELLED: SKIPPED, StepState.FAILED: FAILED,
    StepState.RUNNING: RUNNING, StepState.WAITING: WAITING, StepState.PENDING: PENDING,
}  # fmt: skip
_STATE = {place: state for state, place in _PLACE.items() if state is not StepState.CANCELLED}
_WORDS = ("done", "skipped", "failed", "running", "waiting", "to come")
_MISSES = 20  # nodes for which there was no room, after which no smaller one is looked for


@dataclass(frozen=True, slots=True)
class Counts:
    """How many steps are how far, by the places above."""

    by_place: tuple[int, ...] = (0,) * len(_WORDS)

    def plus(self, other: Counts) -> Counts:
        return Counts(tuple(a + b for a, b in zip(self.by_place, other.by_place, strict=True)))

    def minus(self, other: Counts) -> Counts:
        return Counts(tuple(a - b for a, b in zip(self.by_place, other.by_place, strict=True)))

    @property
    def total(self) -> int:
        return sum(self.by_place)

    @property
    def over(self) -> int:
        return sum(self.by_place[:RUNNING])

    def __getitem__(self, place: int) -> int:
        return self.by_place[place]

    @property
    def place(self) -> int:
        """How far they are as a whole."""
        for place in (RUNNING, WAITING):
            if self[place]:
                return place
        if self[PENDING]:
            return RUNNING if self.over else PENDING
        return FAILED if self[FAILED] else DONE if self[DONE] else SKIPPED

    @property
    def state(self) -> StepState:
        return _STATE[self.place]

    def in_words(self, more: str = "") -> str:
        """`240 done, 2 skipped`, or, with `more`, `3 more running, 700 to come`."""
        found = (
            f"{count}{more if RUNNING <= place < PENDING else ''} {_WORDS[place]}"
            for place, count in enumerate(self.by_place)
            if count
        )
        return ", ".join(found)


_NONE = Counts()
_ONE = tuple(Counts(tuple(int(at == place) for at in range(len(_WORDS)))) for place in range(len(_WORDS)))


class Node:
    """A step, an item, a container, or (`lane`, `root`) a sequence without a line of its own.

    `ready`: only a worker is missing; `unserved`: and there is none. `counts` are those of all steps in it; items of a
    `foreach` are no steps, and counted by `inner`. `stirs`: something in it is ready; `ended`: when the last of it has.
    """

    __slots__ = (
        "children", "counts", "ended", "entry", "hidden", "inner", "kind", "name", "parent", "ready", "shown", "stirs",
        "unserved",
    )  # fmt: skip

    def __init__(self, kind: NodeKind, name: str, entry: Entry | None = None) -> None:
        self.kind = kind
        self.name = name
        self.entry = entry
        self.children: list[Node] = []
        self.parent: Node | None = None
        self.ready = self.unserved = self.shown = self.stirs = False
        self.ended = 0
        self.counts = self.inner = self.hidden = _NONE

    @property
    def own(self) -> int:
        """How many lines it has of its own. What waits for somebody has a second one, with what to type."""
        if self.kind in ("root", "lane"):
            return 0
        return 2 if self.entry is not None and self.entry.awaits_signal else 1

    @property
    def around(self) -> Node:
        """The node that counts its steps when they are hidden: what a lane hides, its parallel says."""
        node = self.parent or self
        while node.kind == "lane" and node.parent is not None:
            node = node.parent
        return node

    def add(self, child: Node) -> None:
        child.parent = self
        self.children.append(child)

    @property
    def place(self) -> int:
        if self.entry is not None:
            return WAITING if self.unserved else _PLACE[self.entry.state]
        return self.counts.place

    def gather(self) -> None:
        """Count what is inside, from the leaves up."""
        if self.entry is not None and not self.children:  # most are, and all of them are counted for each picture
            self.counts, self.stirs, self.ended = _ONE[self.place], self.ready, self.entry.finished_at or 0
            return
        inside = [0] * len(_WORDS)
        for child in self.children:
            child.gather()
            for at, count in enumerate(child.counts.by_place):
                inside[at] += count
        self.stirs = self.ready or any(child.stirs for child in self.children)
        self.ended = max((child.ended for child in self.children), default=0)
        self.inner = self.hidden = Counts(tuple(inside))
        if self.entry is None:
            self.counts = self.inner if self.kind != "item" else _ONE[self.place_inside(inside)]
        elif self.kind == "foreach":
            self.counts = _ONE[self.place]
        else:
            self.counts = self.inner.plus(_ONE[self.place])

    @staticmethod
    def place_inside(inside: list[int]) -> int:
        """How far an item is of which several steps are shown: as the most urgent of them."""
        return next((place for place in (FAILED, RUNNING, WAITING) if inside[place]), RUNNING)

    def folds(self) -> tuple[Counts | None, Counts | None]:
        """What is hidden right inside it: what is over, and the rest; None: nothing."""
        if self.kind == "lane":
            return None, None
        by_place = self.hidden.by_place
        over = (*by_place[:RUNNING], *(0,) * (len(_WORDS) - RUNNING))
        rest = (*(0,) * RUNNING, *by_place[RUNNING:])
        return Counts(over) if any(over) else None, Counts(rest) if any(rest) else None

    def pieces(self) -> Iterator[Node]:
        """What is shown or not as a whole: steps, items, and containers in which nothing happens any more, or yet."""
        place = self.place
        whole = place in (DONE, SKIPPED) or (place == PENDING and not self.stirs)
        if self.own and (whole or not self.children):
            yield self
            return
        for child in self.children:
            yield from child.pieces()


def choose(root: Node, room: int) -> None:
    """Mark what is shown, so that the lines and those that stand for what is folded are at most `room`."""
    root.shown = True
    if _lines(root) <= room:
        _show_all(root)
        return
    found: dict[int, list[Node]] = {urgency: [] for urgency in range(_TO_COME + 1)}
    for node in root.pieces():
        found[_urgency(node)].append(node)
    used = _fill(found[_FAILED], _folds(root), room // 2)  # what failed does not push out what runs
    used = _fill(chain(*(found[urgency] for urgency in (*range(_FAILED + 1, _OVER), _FAILED))), used, room)
    over = sorted(found[_OVER], key=lambda node: -node.ended)
    in_turn = (node for pair in zip_longest(over, found[_TO_COME]) for node in pair if node is not None)
    _fill(in_turn, used, room)


def _fill(nodes: Iterable[Node], used: int, room: int) -> int:
    """Show nodes, the first ones first, as long as there is room. Returns how much is used."""
    missed = 0
    for node in nodes:
        if used >= room or missed > _MISSES:
            break
        if node.shown:
            continue
        cost = _cost(node)
        if used + cost > room:
            missed += 1
        else:
            used += cost
            _show(node)
    return used


_FAILED, _FOR_SOMEBODY, _RUNS, _WAITS, _READY, _OVER, _TO_COME = range(7)


def _urgency(node: Node) -> int:
    if node.entry is not None and node.entry.awaits_signal:
        return _FOR_SOMEBODY
    if node.ready and not node.unserved:
        return _READY
    return (_OVER, _OVER, _FAILED, _RUNS, _WAITS, _TO_COME)[node.place]


def _lines(node: Node) -> int:
    return node.own + sum(map(_lines, node.children))


def _show_all(node: Node) -> None:
    node.shown, node.hidden = True, _NONE
    for child in node.children:
        _show_all(child)


def _folds(node: Node, without: Node | None = None) -> int:
    """How many lines stand for what is hidden right inside a node, once one more child is shown."""
    by_place = node.hidden.by_place
    if without is not None:
        by_place = node.hidden.minus(without.counts).by_place
    return any(by_place[:RUNNING]) + any(by_place[RUNNING:])


def _cost(piece: Node) -> int:
    """How many lines there are more once a node is shown, with what is around it."""
    cost, node = 0, piece
    while not node.shown:
        around = node.around
        cost += node.own + _folds(around, without=node) - (_folds(around) if _has_folds(around) else 0)
        node = around
    return cost


def _has_folds(node: Node) -> bool:
    """Lines for what is hidden stand only where something is shown; else the node's own line says how much it is."""
    return node.shown and (not node.own or any(child.shown for child in node.children))


def _show(piece: Node) -> None:
    node = piece
    while not node.shown:
        around = node.around
        around.hidden = around.hidden.minus(node.counts)
        while node is not around:
            node.shown, node = True, node.parent or around
