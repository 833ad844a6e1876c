"""A process of its own for one expression that may take long.

It reads one JSON document from stdin, evaluates, and writes one to stdout. The kernel ends it by SIGALRM when the
time is over, because CEL cannot be stopped from within; the clock starts after Python has started.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.workflow.evaluation import MAX_RESULT_BYTES, run
from orchestrator.workflow.template import SHAPE

_START = """
import sys, types
package = types.ModuleType("orchestrator")
package.__path__ = [sys.argv[1]]
sys.modules["orchestrator"] = package
from orchestrator.workflow.evaluator import main
main()
"""
MEMORY_BYTES = 2 << 30
START_S = 30.0


class FailedInHelper(Exception):
    """The expression failed; `kind` is the name of the error's class in the helper."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def run_in_helper(source: str, variables: dict[str, Any], functions: tuple[str, ...], limit_s: float) -> Any:
    """Evaluate like `evaluation.run`, but end it after `limit_s` seconds or 2 GiB. The start costs about 0.1 s.

    Raises:
        FailedInHelper: the evaluation failed. ExpressionError: it took too long or too much memory.
    """
    request = {"source": source, "variables": variables, "functions": functions, "limit_s": limit_s}
    try:
        # -P: a file `json.py` in the user's working directory must not be imported.
        done = subprocess.run(
            [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[1])],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limit_s + START_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _too_much(f"takes longer than {limit_s:g} s") from None
    if done.returncode == -signal.SIGALRM:
        raise _too_much(f"takes longer than {limit_s:g} s")
    if done.returncode != 0:
        raise _too_much(f"needs more than {MEMORY_BYTES >> 30} GiB of memory")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise FailedInHelper(answer["error"], answer["message"])
    return answer["value"]


def _too_much(what: str) -> ExpressionError:
    return ExpressionError(f"{what} on this data; {SHAPE}")


def main() -> None:
    """Evaluate the request on stdin."""
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS refuses to lower it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, request["limit_s"])
    try:
        answer = {"value": run(request["source"], request["variables"], tuple(request["functions"]))}
    except MemoryError:
        sys.exit(1)
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    text = json.dumps(answer)
    if len(text) > MAX_RESULT_BYTES:  # the caller would have to hold it, and has no limit of memory
        text = json.dumps({"error": "NotJson", "message": f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB"})
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.stdout.write(text)
