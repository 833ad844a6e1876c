"""The agent `repository`: is this path a checkout, and which of its files are large?"""

from __future__ import annotations

import heapq
import os

from orchestrator import Agent, Fatal
from workers.facts import Checkout, Sized
from workers.git import ask, complaint, git, one_line, shown
from workers.tree import Tree

repository = Agent("repository", capabilities=["git"], concurrency=1)


@repository.task(name="open")
def open_checkout(path: str) -> Checkout:
    """Find the checkout that `path` lies in.

    Args:
        path: the checkout or a folder in it; a relative path starts in the worker's working directory.
    Raises:
        Fatal: there is no checkout, or git may not read it; one line says why.
    """
    root = _root(_folder(path))
    return Checkout(
        root=root,
        name=os.path.basename(root) or root,
        branch=_answer(root, "symbolic-ref", "--quiet", "--short", "HEAD"),
        head=_answer(root, "rev-parse", "--quiet", "--verify", "HEAD"),
        shallow=_answer(root, "rev-parse", "--is-shallow-repository") == "true",
    )


@repository.task
def large_files(root: str, first: int = 10) -> list[Sized]:
    """The largest tracked files on disk, largest first.

    Args:
        root: as `open` returned it.
        first: how many, at most.
    """
    tree = Tree(root)
    sizes = ((tree.size_bytes(file), file.path) for file in tree.files)
    largest = heapq.nsmallest(first, ((-size, path) for size, path in sizes if size))
    return [Sized(path=path, size_bytes=-size) for size, path in largest]


def _folder(path: str) -> str:
    folder = os.path.abspath(os.path.expanduser(path))
    label = one_line(folder)
    if not path or "\0" in path:
        raise Fatal(f"{path!r} is no path")
    if not os.path.exists(folder):
        raise Fatal(f"{label} is not a git repository: there is no such folder")
    if not os.path.isdir(folder):
        raise Fatal(f"{label} is not a git repository: it is a file")
    return folder


def _root(folder: str) -> str:
    label = one_line(folder)
    kind = ask(folder, "rev-parse", "--is-bare-repository", "--is-inside-work-tree")
    if b"dubious ownership" in kind.stderr:
        raise Fatal(f"{label} belongs to another user, so git does not open it: "
                    "run `git config --global --add safe.directory` with its path if you trust it")  # fmt: skip
    if b"not a git repository" in kind.stderr:
        raise Fatal(f"{label} is not a git repository")
    if kind.returncode:
        raise Fatal(f"{label} cannot be opened: {complaint(kind)}")
    bare, inside = kind.stdout.split()
    if bare == b"true":
        raise Fatal(f"{label} is a bare git repository, which has no files to read: give a checkout of it")
    if inside != b"true":
        raise Fatal(f"{label} lies inside a .git folder: give the checkout itself")
    root = git(folder, "rev-parse", "--show-toplevel").removesuffix(b"\n")
    if "\ufffd" in shown(root):
        raise Fatal(f"{label} has a name that is not UTF-8: rename the folder or give another path to it")
    return shown(root)


def _answer(root: str, *arguments: str) -> str | None:
    """One line, or None where git says no."""
    return shown(ask(root, *arguments).stdout).removesuffix("\n") or None
