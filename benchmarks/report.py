"""Makes the tables in benchmarks/README.md from benchmarks/results/bench.json; run: python -m benchmarks.report.

They are never edited by hand; tests/unit/test_benchmarks.py compares them with the JSON.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = Any
RESULTS = Path(__file__).with_name("results") / "bench.json"
README = Path(__file__).with_name("README.md")
BLOCK = re.compile(r"<!-- bench -->\n.*?<!-- /bench -->", re.DOTALL)
SYSTEMS = {"ours": "ours", "bare": "bare Celery", "huey": "Huey", "dbos": "DBOS", "langgraph": "LangGraph"}
LENGTHS = (10, 100, 1000, 3000)
KB = 1000


class Missing(Exception):
    """A figure that was not measured."""


@dataclass(frozen=True)
class Found:
    """What a run has measured."""

    document: Json

    def median(self, case: str, system: str, figure: str) -> float:
        """Over the rounds. Raises Missing."""
        rounds = self.document["cases"].get(case, {}).get("systems", {}).get(system, {}).get("rounds", [])
        if not rounds or figure not in rounds[0]:
            raise Missing(f"{case} {system} {figure}")
        return statistics.median(one[figure] for one in rounds)

    def ratio(self, case: str, figure: str = "ms") -> float:
        """Ours to bare Celery."""
        return self.median(case, "ours", figure) / self.median(case, "bare", figure)

    def speed(self, case: str) -> float:
        """How many times the work of bare Celery in the same time."""
        return 1 / self.ratio(case)


@dataclass(frozen=True)
class Target:
    """A line of the table of targets. `limit` is a bound from above, or from below if `at_least`."""

    work: str
    value: Callable[[Found], float]
    limit: float
    unit: str = "x"
    at_least: bool = False
    goal: float | None = None

    def cells(self, found: Found) -> tuple[str, str, str, str]:
        wanted = f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"
        goal = "" if self.goal is None else f" (goal {self.goal:g}{self.unit})"
        try:
            value = self.value(found)
        except Missing:
            return self.work, wanted + goal, "not measured", ""
        met = value >= self.limit if self.at_least else value <= self.limit
        return self.work, wanted + goal, f"{value:.3g}{self.unit}", "yes" if met else "**no**"


def _growth(found: Found, agents: str) -> float:
    chain = f"chain-{agents}"
    return found.median(f"{chain}/3000", "ours", "ms") / found.median(f"{chain}/100", "ours", "ms")


def _most_kb(found: Found) -> float:
    return max(
        found.median(f"chain-{agents}/{length}", "ours", "sent_bytes") / KB
        for agents in ("one-agent", "two-agents")
        for length in LENGTHS
    )


def _payload_share(found: Found) -> float:
    return found.median("payload/100", "ours", "sent_bytes") / (100 * 10 * KB)


TARGETS = (
    Target("10 steps, two agents in turn: time", lambda f: f.ratio("chain-two-agents/10"), 0.65, goal=0.55),
    Target("10 steps of one agent: time", lambda f: f.ratio("chain-one-agent/10"), 0.3, goal=0.15),
    Target("1,000 steps, two agents in turn: time", lambda f: f.ratio("chain-two-agents/1000"), 0.10),
    Target("1,000 steps of one agent: time", lambda f: f.ratio("chain-one-agent/1000"), 0.03),
    Target("two agents: ms/step at 3,000 over that at 100", lambda f: _growth(f, "two-agents"), 1.15),
    Target("one agent: ms/step at 3,000 over that at 100", lambda f: _growth(f, "one-agent"), 1.15),
    Target("bytes sent for a step, the most of all lengths", _most_kb, 3, " KB"),
    Target("100 steps that add 10 KB each: time", lambda f: f.ratio("payload/100"), 0.12),
    Target("100 steps that add 10 KB each: bytes sent over the payload's", _payload_share, 1.5),
    Target("fan-out 1,000 and join: time", lambda f: f.ratio("fan/foreach"), 1.0, goal=0.75),
    Target("1,000 five-step workflows, two agents in turn: steps/s", lambda f: f.speed("throughput-two-agents/1000"),
           1.35, at_least=True),
    Target("1,000 five-step workflows of one agent: steps/s", lambda f: f.speed("throughput-one-agent/1000"),
           4, at_least=True),
    Target("submits/s, one after another", lambda f: f.speed("submit/5"), 6, at_least=True),
    Target("submits/s, 1,000 at hand", lambda f: f.speed("submit/many"), 6, at_least=True),
    Target("a message to an idle agent: p50", lambda f: f.ratio("message/idle"), 0.8),
    Target("an emergency behind 5,000 of 1 ms: p50", lambda f: f.ratio("backlog/emergency", "urgent_ms"), 0.3),
    Target("idle worker: commands", lambda f: f.median("idle/20", "ours", "commands_per_s"), 2, "/s"),
    Target("idle worker: CPU", lambda f: f.median("idle/20", "ours", "cpu_percent"), 0.4, " %"),
    Target("start of a worker: time", lambda f: f.ratio("start/2"), 0.4),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A line of the table of figures."""

    work: str
    case: str
    figure: str = "ms"
    shown: Callable[[float], str] = "{:.2f}".format


def _kb(value: float) -> str:
    return f"{value / KB:,.2f}"


def _rate(ms: float) -> str:
    """How many in a second, when one takes so long."""
    return f"{1e3 / ms:,.0f}"


ROWS = (
    *(Row(f"{length:,} steps, {agents.replace('-', ' ')}: ms/step", f"chain-{agents}/{length}")
      for agents in ("two-agents", "one-agent") for length in LENGTHS),
    *(Row(f"{length:,} steps, {agents.replace('-', ' ')}: KB sent/step", f"chain-{agents}/{length}", "sent_bytes", _kb)
      for agents in ("two-agents", "one-agent") for length in LENGTHS),
    Row("1,000 steps, one agent: KB/step both ways", "chain-one-agent/1000", "both_bytes", _kb),
    Row("100 steps that add 10 KB each: ms", "payload/100", shown="{:,.0f}".format),
    Row("the same: KB sent", "payload/100", "sent_bytes", _kb),
    Row("fan-out 1,000 and join: ms/step", "fan/foreach"),
    Row("the same as 1,000 parallel steps: ms/step", "fan/parallel"),
    Row("1,000 five-step workflows, two agents: steps/s", "throughput-two-agents/1000", shown=_rate),
    Row("1,000 five-step workflows, one agent: steps/s", "throughput-one-agent/1000", shown=_rate),
    Row("submits/s of a five-step workflow, one after another", "submit/5", shown=_rate),
    Row("the same, 1,000 at hand", "submit/many", shown=_rate),
    Row("a message to an idle agent: p50 ms", "message/idle"),
    Row("a message to an idle agent: p99 ms", "message/idle", "p99_ms"),
    Row("5,000 messages worked off: messages/s", "backlog/handled", shown=_rate),
    Row("an emergency behind 5,000 of 1 ms: p50 ms", "backlog/emergency", "urgent_ms"),
    Row("idle worker: commands/s", "idle/20", "commands_per_s"),
    Row("idle worker: CPU %", "idle/20", "cpu_percent"),
    Row("start of a worker: ms", "start/2", shown="{:,.0f}".format),
)  # fmt: skip


def tables(document: Json, unmeasured: bool = True) -> str:
    """The targets, the figures, and what was left out and why, as Markdown.

    Args:
        unmeasured: whether lines without a figure are shown too.
    """
    found = Found(document)
    lines = [target.cells(found) for target in TARGETS]
    targets = _table(("work", "target", "measured", "met"), (line for line in lines if line[-1] or unmeasured))
    reasons: list[str] = []  # the note number N is at N - 1
    rows = [row for row in ROWS if row.case in document["cases"] or unmeasured]
    figures = _table(("", *SYSTEMS.values()), (_row(found, row, reasons) for row in rows))
    notes = [f"{at}. {reason}" for at, reason in enumerate(reasons, 1)]
    dates, rounds, loads = (
        ", ".join(map(str, sorted({case[what] for case in document["cases"].values()})))
        for what in ("date", "rounds", "load")
    )
    packages = {name: version for found in document["versions"].values() for name, version in found.items()}
    where = (
        f"{document['machine']}; {', '.join(f'{name} {version}' for name, version in sorted(packages.items()))}; "
        f"{document['settings']}; medians of {rounds} rounds; {dates}; load of the machine before: {loads}."
    )
    return "\n".join([*targets, "", *figures, "", *notes, "", where])


def _row(found: Found, row: Row, reasons: list[str]) -> Iterable[str]:
    yield row.work
    for system in SYSTEMS:
        try:
            yield row.shown(found.median(row.case, system, row.figure))
        except Missing:
            side = found.document["cases"].get(row.case, {}).get("systems", {}).get(system, {})
            if why := side.get("left_out"):
                if why not in reasons:
                    reasons.append(why)
                yield f"- [{reasons.index(why) + 1}]"
            else:
                yield "-"


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *map(list, rows))]


def with_block(readme: str, document: Json) -> str:
    """README.md with the tables of this document."""
    assert BLOCK.search(readme), "benchmarks/README.md has no block <!-- bench --> ... <!-- /bench -->"
    text = f"<!-- bench -->\n{tables(document)}\n<!-- /bench -->"
    return BLOCK.sub(lambda match: text, readme)


def write(document: Json) -> None:
    """Put what was measured into the JSON, beside the other cases if they are of the same versions and machine."""
    if RESULTS.exists():
        before = json.loads(RESULTS.read_text())
        if all(before[what] == document[what] for what in ("machine", "settings", "versions")):
            document = {**document, "cases": {**before["cases"], **document["cases"]}}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    main()


def main() -> None:
    README.write_text(with_block(README.read_text(), json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
