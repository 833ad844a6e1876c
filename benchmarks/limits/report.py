"""The tables that are made of benchmarks/results/limits.json, and where they stand. Nobody edits them by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "limits.json"
PAGES = (ROOT / "benchmarks" / "README.md", ROOT / "docs" / "scaling.md")
BLOCK = re.compile(r"<!-- limits -->\n.*?<!-- /limits -->", re.DOTALL)
Json = Any


def save(found: Json) -> None:
    """Write the results, and the tables of both pages."""
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    for page in PAGES:
        page.write_text(with_block(page.read_text("utf-8"), found), "utf-8")


def with_block(text: str, found: Json) -> str:
    """A page with the tables of these results between its marks."""
    return BLOCK.sub(lambda _: f"<!-- limits -->\n{tables(found)}\n<!-- /limits -->", text)


def tables(found: Json) -> str:
    queued, runs, agents, rates = (found[part] for part in ("queued", "lists", "agents", "messages"))
    together, apart, idle = found["together"], found["apart"], found["idle"]
    figures = [
        ("what", "measured"),
        (f"{queued['steps']:,} steps queued, in {queued['runs']:,} runs, by one client",
         f"{queued['queue_s']:.0f} s, {queued['queue_steps_per_s']:,} steps/s"),
        ("memory of the server for a queued step", f"{queued['bytes_per_queued_step']:,} B"),
        (f"messages that a queue of that length got besides in {queued['held_s']:.0f} s, beside a keeper",
         f"{queued['messages_after'] - queued['messages']:,}"),
        (f"worked off by {queued['workers']} workers with a slot each",
         f"{queued['drain_s']:.0f} s, {queued['drain_steps_per_s']:,} steps/s"),
        ("of these the first and the last quarter",
         f"{_number(queued['first_quarter_steps_per_s'])} and {_number(queued['last_quarter_steps_per_s'])} steps/s"),
        ("time of the server for one of these steps", _room(queued["server_us_per_step"])),
        ("runs that succeeded; attempts; messages sent again",
         f"{queued['succeeded']:,} of {queued['runs']:,}; {queued['attempts']:,}; {queued['sent_again']}"),
        (f"{together['steps']:,} steps in runs of five, one server for store and broker",
         f"{together['steps_per_s']:,} steps/s"),
        ("time of the server for one of these steps", _room(together["server_us_per_step"][0])),
        ("the same with a broker of its own, on the same cores",
         f"{apart['steps_per_s']:,} steps/s"),
        ("time of the store for one of these; of the broker",
         "; ".join(map(_room, apart["server_us_per_step"]))),
        (f"{rates['messages']:,} messages of 200 B sent by one client; handled by {rates['workers']} workers",
         f"{rates['sent_per_s']:,}/s; {_number(rates['handled_per_s'])}/s"),
        ("time of the server for a message", _room(rates["server_us_per_message"])),
        ("an idle worker: requests to the server; the server's time",
         f"{idle['requests_per_s']}/s; {idle['server_share']:.2%} of a core"),
        (f"{runs['runs']:,} runs listed; the newest 50; by status; by workflow",
         f"{runs['all_ms']:.0f} ms; {runs['newest_50_ms']:.1f} ms; {runs['by_status_ms']:.0f} ms; "
         f"{runs['by_workflow_ms']:.0f} ms"),
        ("the same by the command, with its start and JSON", f"{runs['command_ms'] / 1000:.1f} s"),
        (f"{agents['agents']:,} agents listed; their metrics; by the command",
         f"{agents['list_ms']:.0f} ms; {agents['metrics_ms']:.0f} ms; {agents['command_ms'] / 1000:.1f} s"),
        (f"a heartbeat alone; among {agents['agents']:,} agents",
         f"{agents['heartbeat_alone_ms']:.2f} ms; {agents['heartbeat_ms']:.2f} ms"),
    ]  # fmt: skip
    kinds = list(next(iter(found["memory"].values()))["by_kind"])
    waits = {"bytes_per_step": queued["bytes_per_queued_step"], "by_kind": queued["by_kind"]}
    waits["bytes_per_run"] = waits["bytes_per_step"] * queued["steps"] // queued["runs"]
    sizes = [("bytes of the server", "a step", "a run", *(f"`{kind}`" for kind in kinds))]
    for name, row in {**found["memory"], "**queued**: an item of a foreach": waits}.items():
        sizes.append((
            name, f"**{row['bytes_per_step']:,}**", f"{row['bytes_per_run']:,}",
            *(f"{row['by_kind'][kind]:,}" for kind in kinds),
        ))  # fmt: skip
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"{_table(figures)}\n\n{_table(sizes)}\n\n{versions}; {found['cores']} cores, {found['date']}."


def _room(microseconds: int) -> str:
    """What something takes, and how much of it a second has room for."""
    return f"{microseconds} µs, room for {1e6 / microseconds:,.0f}/s"


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])
