"""The agent `writer`: joins what the others found into one Markdown file."""

from __future__ import annotations

import os
import uuid

from orchestrator import Agent, Fatal
from workers.facts import Checkout, Counted, FolderSummary, History, Languages, Report, Sized, Todos
from workers.git import one_line
from workers.report import Findings, render

writer = Agent("writer", capabilities=["writing"], concurrency=1)


@writer.task
def write(
    checkout: Checkout,
    history: History,
    languages: Languages,
    todos: Todos,
    hot_spots: list[Counted],
    large_files: list[Sized],
    folders: list[FolderSummary],
    report: str = "repo-report.md",
) -> Report:
    """Write the report; a reader sees the old file or the whole new one, never half of it.

    Args:
        report: the file to write; a relative path starts in the worker's working directory.
    Raises:
        Fatal: the file cannot be written; one line says why.
    """
    path = os.path.abspath(os.path.expanduser(report))
    found = Findings(
        checkout=checkout,
        history=history,
        languages=languages,
        todos=todos,
        hot_spots=hot_spots,
        large_files=large_files,
        folders=folders,
    )
    try:
        _replace(path, render(found))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Fatal(f"{one_line(path)} cannot be written: {reason}") from None
    return Report(report=path)


def _replace(path: str, text: str) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    # In the same folder, because a rename is atomic only within one file system.
    draft = os.path.join(folder, f".report-{uuid.uuid4().hex}.tmp")
    try:
        with open(draft, "x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.replace(draft, path)
    except BaseException:
        if os.path.exists(draft):
            os.unlink(draft)
        raise
