"""The plans of workflow files, for a process that runs the same files again and again."""

from __future__ import annotations

from pathlib import Path

from orchestrator.settings import Settings
from orchestrator.workflow.catalog import Catalog
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.file_text import read_text
from orchestrator.workflow.loader import load_workflow
from orchestrator.workflow.plan import Plan

_REMEMBERED = 100  # files


class FilePlans:
    """Compiles workflow files, each again only when its text, or what is known of its agents, has changed.

    Texts are compared, not times of files: a stale plan is worse than a slow one. A workflow that runs others is
    compiled each time, because their files may have changed.
    """

    def __init__(self, limits: Settings) -> None:
        self._limits = limits
        self._known: dict[str, tuple[str, Catalog, Plan]] = {}

    def plan(self, source: str | Path, agents: Catalog) -> Plan:
        """The plan of a file.

        Raises:
            WorkflowInvalid: every mistake, with its file and line.
        """
        file, limits = str(source), self._limits
        text = read_text(Path(source), limits.max_definition_bytes)
        if file in self._known:
            before, asked, plan = self._known[file]
            if text == before and agents.says_the_same(asked):
                return plan
        plan = compile_workflow(load_workflow(source, text=text, limits=limits), agents=agents, limits=limits)
        if not plan.children:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[file] = text, agents, plan
        return plan
