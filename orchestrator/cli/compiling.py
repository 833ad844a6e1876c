"""From a file on the command line to a plan, asking the server for agents only where that could change the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.agents.loading import AgentRegistry
from orchestrator.errors import StoreUnavailable, WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.catalog import Catalog
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow
from orchestrator.workflow.plan import Plan


def compile_file(file: Path, settings: Settings, registry: AgentRegistry, ask_server: Callable[[], Catalog]) -> Plan:
    """The plan of a workflow file, checked against the agents loaded here and, if need be, those online.

    Args:
        ask_server: gives the agents loaded or online.
    Raises:
        WorkflowInvalid: every mistake. A server that is away cannot mend one, so this goes before StoreUnavailable.
    """
    loaded = load_workflow(file, limits=settings)
    try:
        return compile_workflow(loaded, agents=registry.catalog(), limits=settings)
    except WorkflowInvalid as invalid:
        try:
            compile_workflow(loaded, agents=None, limits=settings)
            known = ask_server()
        except (WorkflowInvalid, StoreUnavailable):
            raise invalid from None
    return compile_workflow(loaded, agents=known, limits=settings)
