"""How the runner (benchmarks/bench.py) talks to the driver of a system. Nothing but the standard library is imported.

A driver is the program of one system: it submits, waits, and reads the clock. It gets one JSON document a line,
`{"do": METHOD, ...arguments}`, and answers with what the method returned, or `{"left_out": reason}`. Times are seconds.
"""

from __future__ import annotations

import json
import os
import random
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["BENCH_FOLDER"])  # for files of a driver
SLOTS = 2  # of all the workers of a system
ANSWER = "x" * 200  # of a step
PIECE = random.Random(1).randbytes(5_000).hex()  # 10 KB, of which compression cannot make nothing
Answer = dict[str, Any]


class LeftOut(Exception):
    """What this system cannot do, and why."""


def serve(driver: Any, *packages: str) -> None:
    """Say which versions these packages have, then answer requests until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    print(json.dumps({name: version(name) for name in packages}), file=answers, flush=True)
    try:
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(_answer(driver, **request)), file=answers, flush=True)
    finally:
        driver.stop()


def _answer(driver: Any, do: str, **arguments: Any) -> Answer:
    try:
        if do in driver.cannot:
            raise LeftOut(driver.cannot[do])
        return getattr(driver, do)(**arguments) or {}
    except LeftOut as error:
        return {"left_out": str(error)}
    except RecursionError as error:
        return {"left_out": f"RecursionError: {error}"}
