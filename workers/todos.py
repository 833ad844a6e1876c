"""The agent `todos`: finds TODO, FIXME and XXX markers."""

from __future__ import annotations

from orchestrator import Agent
from workers.facts import Place, Todos
from workers.tree import Tree, lines_in, markers_in

todos = Agent("todos", capabilities=["source-code"], concurrency=1)

_TEXT_CHARS = 160


@todos.task
def find(root: str, first: int = 50) -> Todos:
    """Find the lines with a marker as a whole word, each line once, in the tracked text files as they are on disk.

    Args:
        root: as `repository.open` returned it.
        first: how many places to list; all are counted.
    """
    tree = Tree(root)
    total = 0
    places: list[Place] = []
    for file in tree.files:
        before = 0
        for block in tree.blocks(file):
            for number, text in markers_in(block):
                total += 1
                if len(places) < first:
                    places.append(Place(path=file.path, line=before + number, text=_shortened(text)))
            before += lines_in(block)
    return Todos(total=total, places=places)


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _TEXT_CHARS else text[: _TEXT_CHARS - 1] + "…"
