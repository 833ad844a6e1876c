"""Makes docs/reliability.md, and the block of promises in README.md, from the JSON of the last `make faults`.

Run: python -m tests.faults.report. Neither is ever edited by hand; a test compares them with the committed JSON.
`F01.json` is a test's, `bare_F01.json` what bare Celery did under the same fault, `L1.json` a measured latency.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

from tests.faults.promises import FAULT_MODEL, NOT_PROMISED, PROMISES

Json = Any
Results = Mapping[str, Json]  # name of the file without its end -> document

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results")
DOCUMENT = ROOT / "docs" / "reliability.md"
README = ROOT / "README.md"
BLOCK = re.compile(r"<!-- promises -->\n.*?<!-- /promises -->", re.DOTALL)
CONFIDENCE = 0.95
#: Where loss is part of what is measured, not of what is promised.
NOT_COUNTED = frozenset({"F17", "F34"})
#: What the column of counts shows, if it is there and not 0.
SHOWN = (
    "attempted", "accepted", "indeterminate", "refused", "ok", "failed", "dead", "expired", "cancelled",
    "duplicated_effects", "extra_attempts", "recovered",
)  # fmt: skip
ALWAYS_SHOWN = ("lost", "unexpected")
#: What the column of Celery needs to be understood.
ALONE = (
    " Celery's settings are its `defaults`, or the `best` that it has against loss: `acks_late`, "
    "`reject_on_worker_lost` and a prefetch of 1; its visibility timeout is the usual hour where nothing else is said. "
    "Waiting: not lost, and not run when the test ended."
)
HIDDEN = ("faults", "heard", "heard_in_60_s")  # parts of other figures


def load(folder: Path = RESULTS) -> dict[str, Json]:
    """Every document of a folder."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}


def failure_rate(failures: int, trials: int) -> float:
    """The rate that is not exceeded with 95 % confidence, when so many of so many trials failed (Clopper, Pearson)."""
    if failures >= trials:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        # How likely is it to see no more failures than that?
        seen = sum(comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(failures + 1))
        low, high = (rate, high) if seen > 1 - CONFIDENCE else (low, rate)
    return high


@dataclass(frozen=True)
class Totals:
    """Sums over the fault tests."""

    results: Results

    def sum(self, *names: str, only: Iterable[str] = ()) -> int:
        chosen = set(only)
        return sum(
            int(document["counts"].get(name, 0))
            for key, document in self.results.items()
            if key.startswith("F") and document["id"] not in NOT_COUNTED and (not chosen or document["id"] in chosen)
            for name in names
        )

    def worst(self, kind: str, figure: str, only: Iterable[str]) -> float | None:
        found = [
            self.results[key]["recovery"][kind][figure]
            for key in only
            if key in self.results and kind in self.results[key]["recovery"]
        ]
        return max(found, default=None)

    def broken(self, invariant: str) -> int:
        """How many tests have broken it."""
        documents = [document for key, document in self.results.items() if key.startswith("F")]
        return sum(any(line.startswith(invariant) for line in document["broken"]) for document in documents)

    def target(self, key: str, name: str) -> str | None:
        for target in self.results.get(key, {}).get("targets", []):
            if target["name"].startswith(name):
                return f"{target['measured']:g} {target['unit']}".strip()
        return None


def _measured(totals: Totals) -> dict[str, str]:
    """What the last run showed of each promise; absent: not measured."""
    found: dict[str, str] = {}
    accepted, lost = totals.sum("accepted"), totals.sum("lost")
    if accepted:
        found["P1"] = f"{accepted:,} accepted, {lost} lost"
        ends = {name: totals.sum(name) for name in ("ok", "failed", "dead", "expired", "cancelled")}
        found["P2"] = f"{sum(ends.values()):,} ended: " + ", ".join(f"{n:,} {name}" for name, n in ends.items() if n)
        twice, again = totals.broken("I3"), totals.sum("extra_attempts")
        found["P3"] = f"handlers started {again:,} times more than once each; {twice} results recorded twice"
    if unknown := totals.sum("indeterminate"):
        found["P4"] = f"{unknown:,} sends with unknown outcome asked for again, {totals.broken('I1 another')} doubled"
    takeover = totals.worst("takeover_s", "max", ("F01", "F06"))
    if takeover is not None:
        found["P5"] = f"the longest of {totals.sum('recovered', only=('F01', 'F06'))} took {takeover:.1f} s"
    if "F21" in totals.results:
        found["P6"] = f"{totals.sum('dead', only=('F21',)):,} poisoned messages, all dead with a reason"
    if p99 := totals.target("L1", "p99"):
        found["P7"] = f"p99 {p99}"
    if runs := totals.sum("runs", only=("F06",)):
        wrong = totals.sum("wrong", only=("F06",))
        bound = 100 * (1 - failure_rate(wrong, runs))
        found["P8"] = f"{wrong} of {runs:,} runs wrong: with 95 % confidence, at least {_percent(bound)} end right"
    if heard := totals.sum("heard"):
        share = 100 * totals.sum("heard_in_60_s") / heard
        found["P9"] = f"{share:.2f} % of {heard:,} messages done within 60 s, {lost} missing"
    return found


def _percent(value: float) -> str:
    """Rounded down, so that it never says more than was shown."""
    return f"{int(value * 100) / 100:.2f} %"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *map(list, rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def promises_block(results: Results) -> str:
    """The block of README.md."""
    measured = _measured(Totals(results))
    rows = [(text, measured.get(name, "not measured yet")) for name, text in PROMISES.items()]
    lines = [FAULT_MODEL, "", *_table(("promise", "the last `make faults`"), rows), "", NOT_PROMISED]
    more = "How it was measured, fault by fault: [docs/reliability.md](docs/reliability.md)."
    return "\n".join(["<!-- promises -->", *lines, "", more, "<!-- /promises -->"])


def document(results: Results) -> str:
    """The text of docs/reliability.md."""
    measured = _measured(Totals(results))
    tests = [results[key] for key in sorted(results) if re.fullmatch(r"F\d+\w*", key)]
    latencies = [results[key] for key in sorted(results) if re.fullmatch(r"L\d+\w*", key)]
    rows = [(name, text, measured.get(name, "not measured yet")) for name, text in PROMISES.items()]
    parts = [
        "# Reliability",
        "Made by `make faults` from what it measured, never edited by hand: "
        "[the tests](../tests/faults/README.md), [their results](../tests/faults/results).",
        "## What is promised",
        FAULT_MODEL,
        "\n".join(_table(("", "promise", "the last run"), rows)),
        NOT_PROMISED,
        "## What the counts are worth",
        _worth(Totals(results)),
        "## The faults",
        "Each row is a test: what was broken, while what was going on, what came out, and beside it what Celery alone "
        "did under the same fault, where that was measured. Times are from the death of a process to the next start "
        "of what it was at (takeover), from the end of a fault to the first handler that starts (recovery), and from "
        "sending to the start of the handler (latency)." + (ALONE if any("bare_" in key for key in results) else ""),
        "\n".join(
            _table(("", "fault", "load", "counts", "targets and figures", "met", "Celery"), _rows(tests, results))
        ),
        "## Latency and throughput",
        "\n".join(_table(("", "what", "load", "figures", "met", "Celery"), _latency_rows(latencies, results)))
        if latencies
        else "Not measured yet.",
        "## Where it ran",
        "\n".join(_table(("", "on", "seed", "seconds", "machine and versions"), map(_place_row, [*tests, *latencies]))),
    ]
    return "\n\n".join(parts) + "\n"


def _worth(totals: Totals) -> str:
    needs = (
        "A rate below 1 % needs 299 trials without a failure, below 0.1 % needs 2,995, below 0.01 % needs 29,956 "
        "(with one failure 473, 4,742 and 47,437), all with 95 % confidence"
    )
    accepted, lost = totals.sum("accepted"), totals.sum("lost")
    if not accepted:
        return f"{needs}."
    share = 100 * failure_rate(lost, accepted)
    return f"{needs}; {lost} lost of {accepted:,} accepted under faults means that at most {share:.2g} % are."


def _rows(tests: Iterable[Json], results: Results) -> Iterable[tuple[str, ...]]:
    for test in tests:
        bare = results.get(f"bare_{test['id']}")
        part = "" if test["share_of_load"] == 1 else f" (at {test['share_of_load']:g} of the load)"
        celery = _celery(bare) if bare else ""
        about = f"{test['title']}. {test['about']}" if test["about"] else test["title"]
        met = "yes" if test["passed"] else "**no**" + "".join(f"; {line}" for line in test["broken"])
        yield test["id"], about, test["load"] + part, _counts(test["counts"]), _figures(test), met, celery


def _celery(bare: Json) -> str:
    """What Celery alone did: its counts under each of its settings."""
    parts = [f"{settings}: {_counts(counts)}" for settings, counts in bare["counts"].items()]
    return ". ".join(filter(None, [bare["load"], "; ".join(parts), bare["about"]]))


def _counts(counts: Json) -> str:
    kept = [(name, counts[name]) for name in SHOWN if counts.get(name)]
    kept += [(name, counts[name]) for name in ALWAYS_SHOWN if name in counts]
    kept += [item for item in counts.items() if item[0] not in (*SHOWN, *ALWAYS_SHOWN, *HIDDEN) and item[1]]
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in kept)


def _figures(test: Json) -> str:
    figures = [_target(target) for target in test["targets"]]
    for kind, times in test["recovery"].items():
        name = kind.removesuffix("_s")
        figures.append(f"{name} p50 {times['p50']:g} s, p95 {times['p95']:g} s, max {times['max']:g} s ({times['n']})")
    return "; ".join(figures)


def _target(target: Json) -> str:
    sign = "≥" if target["at_least"] else "≤"
    unit = f" {target['unit']}" if target["unit"] else ""
    missed = "" if target["met"] else " **missed**"
    return f"{target['name']} {target['measured']:g}{unit} ({sign} {target['limit']:g}){missed}"


def _latency_rows(tests: Iterable[Json], results: Results) -> Iterable[tuple[str, ...]]:
    for test in tests:
        bare = results.get(f"bare_{test['id']}")
        met = "yes" if test["passed"] else "**no**"
        yield test["id"], test["title"], test["load"], _figures(test), met, _celery(bare) if bare else ""


def _place_row(test: Json) -> tuple[str, ...]:
    versions = ", ".join(f"{name} {version}" for name, version in test["versions"].items())
    place = f"{test['machine']['cores']} cores, {test['machine']['system']}; {versions}"
    return test["id"], test["on"], str(test["seed"]), f"{test['duration_s']:g}", place


def with_block(readme: str, results: Results) -> str:
    """README.md with the block of these results."""
    assert BLOCK.search(readme), "README.md has no block <!-- promises --> ... <!-- /promises -->"
    text = promises_block(results)
    return BLOCK.sub(lambda match: text, readme)


def main() -> None:
    results = load()
    DOCUMENT.write_text(document(results))
    README.write_text(with_block(README.read_text(), results))
    print(f"{DOCUMENT.relative_to(ROOT)} and the promises in README.md are of {len(results)} results")


if __name__ == "__main__":
    main()
