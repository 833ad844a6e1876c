"""Runs a program of the next version: what it stores has a newer schema, and what is of that schema it knows.

`python -m tests.faults.newer PYTHON -m MODULE ARGUMENT...`, so that it can stand before a worker's command.
"""

from __future__ import annotations

import runpy
import sys

from orchestrator import records

BEFORE = (sys.executable, "-m", "tests.faults.newer")
NEWER = records.SCHEMA + 1

if __name__ == "__main__":
    module, sys.argv = sys.argv[3], sys.argv[3:]
    records.SCHEMA = NEWER  # before anything else reads it
    runpy.run_module(module, run_name="__main__", alter_sys=True)
