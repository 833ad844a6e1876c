"""Coverage-guided fuzzing of what reads definition files: `make fuzz`. The engine is libFuzzer, and so are its options.

Any text becomes a plan, or mistakes of one line each; nothing else may be raised, take long or grow.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["orchestrator.workflow", "ruamel.yaml"]):
    from orchestrator.errors import WorkflowInvalid
    from orchestrator.settings import Settings
    from orchestrator.workflow.compiler import compile_workflow
    from orchestrator.workflow.loader import load_workflow

LIMITS = Settings()


def compile_bytes(data: bytes) -> None:
    """Compile a text as a file; its mistakes are looked at."""
    text = data.decode("utf-8", "replace")
    try:
        compile_workflow(load_workflow("fuzz.yaml", text=text, limits=LIMITS), limits=LIMITS)
    except WorkflowInvalid as invalid:
        lines = 1 + sum(map(text.count, "\n\r\x85\u2028\u2029"))
        for problem in invalid.problems:
            told = str(problem)
            assert "\n" not in told, told
            assert 0 <= problem.line <= lines + 1, (problem.line, lines)


if __name__ == "__main__":
    atheris.Setup(sys.argv, compile_bytes)
    atheris.Fuzz()
