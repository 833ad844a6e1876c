"""Python imports this at the start of every process that has the folder on its path; only workers are to be hurt."""

from __future__ import annotations

import os
import sys

_WORKERS = ("worker", "tests.faults.fleet")

if set(_WORKERS) & set(sys.orig_argv):
    from tests.faults.store_faults import SEED, install

    install(int(os.environ[SEED]))
