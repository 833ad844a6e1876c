"""The agent `folders`: which folders a checkout has at its top, and what is in each of them."""

from __future__ import annotations

from collections import Counter

from orchestrator import Agent
from workers.facts import Folder, FolderSummary
from workers.git import changes
from workers.tree import Tree, lines_in, markers_in

folders = Agent("folders", capabilities=["source-code", "git"], concurrency=2)


@folders.task(name="list")
def list_folders(root: str, head: str | None, first: int = 50) -> list[Folder]:
    """The top folders with the most tracked files, by name, with the commits that changed each (see `git.changes`).

    Args:
        root: as `repository.open` returned it.
        head: a commit; None stands for a repository without commits.
        first: how many, at most.
    """
    sizes = Counter(file.top for file in Tree(root).files if file.top is not None)
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:first]
    # One pass over the history for all folders, so that the step for each folder needs none.
    changed = changes(root, head, whole_paths=False) if head else Counter[str]()
    return [Folder(name=name, commits=changed[name]) for name in sorted(largest)]


@folders.task
def summarize(root: str, folder: Folder) -> FolderSummary:
    """Count files, lines and markers in one top folder.

    Args:
        folder: one item of what `list` returned.
    """
    tree = Tree(root)
    inside = [file for file in tree.files if file.top == folder.name]
    lines = todos = 0
    for file in inside:
        for block in tree.blocks(file):
            lines += lines_in(block)
            todos += sum(1 for _ in markers_in(block))
    return FolderSummary(name=folder.name, commits=folder.commits, files=len(inside), lines=lines, todos=todos)
