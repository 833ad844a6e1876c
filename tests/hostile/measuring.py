"""A hostile file is compiled in a process of its own: what comes of it, in what time and with how much memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_CHILD = """
import json, resource, sys, time
from orchestrator.errors import WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.compiler import compile_workflow
from orchestrator.workflow.loader import load_workflow

def compile_file(name):
    compile_workflow(load_workflow(name), limits=Settings())

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

compile_file(sys.argv[1])  # so that nothing is imported while the clock runs
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
before, start = peak(), time.process_time()
try:
    compile_file(sys.argv[2])
    problems = None
except WorkflowInvalid as error:
    problems = [str(problem) for problem in error.problems]
print(json.dumps([problems, time.process_time() - start, peak() - before]))
"""
_KIB = 1024 if sys.platform == "darwin" else 1  # what ru_maxrss counts in


@dataclass(frozen=True)
class Refusal:
    """What compiling a file gave: its mistakes (None: it has none), in seconds of CPU and MiB of additional memory."""

    problems: list[str] | None
    cpu_s: float
    memory_mib: float


def compile_apart(folder: Path, text: str | bytes) -> Refusal:
    """Compile a text as a file of the folder, under limits of time and memory."""
    good, bad = folder / "good.yaml", folder / "bad.yaml"
    good.write_text("name: good\nsteps: [{id: a, set: {}}]\n")
    bad.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = subprocess.run([sys.executable, "-c", _CHILD, good, bad], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    problems, cpu_s, memory = json.loads(done.stdout)
    return Refusal(problems, cpu_s, memory / _KIB / 1024)
