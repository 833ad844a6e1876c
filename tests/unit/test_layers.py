"""The house: imports point left, nobody but runtime knows Celery, nobody but the store's clients know Redis."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import orchestrator

ROOT = Path(orchestrator.__file__).parent

#: Left to right. A room may import from itself and from what stands left of it.
LAYERS = (
    ("errors", "states", "outcomes", "identity", "messages", "records", "settings", "backoff", "events", "ids", "names",
     "strict", "hosts", "crashpoints", "durations", "logs", "tracing"),
    ("workflow",),
    ("store",),
    ("agents",),
    ("runtime",),
    ("simulation", "client", "run_handle", "documents", "messaging", "sinks", "metrics", "testing"),
    ("web",),
    ("cli", "__init__", "__main__"),
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
#: What a file of workers/ may import besides the public names.
_DECLARED = "orchestrator.agents.declared"
FURTHER = {
    "celery": {"orchestrator.runtime.app"}, "shell": {_DECLARED}, "tmux": {_DECLARED},
    "answers": {"orchestrator.strict"}, "http_agent": {_DECLARED, "orchestrator.agents.masks"},
}  # fmt: skip
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def room(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else path.stem


@cache
def imports(path: Path) -> set[str]:
    """Full names of what a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_imports_point_left() -> None:
    for path in FILES:
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "orchestrator" and len(parts) > 1 and parts[1] in RANK:
                assert RANK[parts[1]] <= RANK[room(path)], f"{path} imports {name}, which stands right of it"


def test_each_library_has_its_room() -> None:
    for path in FILES:
        libraries = {name.split(".")[0] for name in imports(path)}
        if room(path) not in ("runtime", "web", "cli"):
            assert not libraries & {"celery", "kombu", "flower", "billiard"}, f"{path} knows Celery"
        if room(path) not in ("store", "runtime"):
            assert "redis" not in libraries or path.parts[0] == "cli", f"{path} knows Redis"
        if room(path) != "tracing":
            assert "opentelemetry" not in libraries, f"{path} knows OpenTelemetry"
        if room(path) != "workflow":
            assert not libraries & {"cel", "ruamel"}, f"{path} knows the workflow's language"


def test_the_engine_imports_no_agent_and_agents_import_only_the_public_names() -> None:
    for path in FILES:
        assert not {name for name in imports(path) if name.split(".")[0] == "workers"}, path
    for path in sorted((ROOT.parent / "workers").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("orchestrator"):
                allowed = {"orchestrator"} | FURTHER.get(path.stem, set())
                assert node.module in allowed, f"{path.name} imports {node.module}"
