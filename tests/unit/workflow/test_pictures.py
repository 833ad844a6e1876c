from __future__ import annotations

import pytest

from orchestrator.workflow.pictures import FORMATS, graph
from tests.unit.workflow.texts import TEAM, plan_of

PLAN = plan_of(
    """- {id: end, agent: clerk}
- id: p
  when: '${{ "a" == "<b>" }}'
  parallel:
    - {id: b, agent: clerk, foreach: [1]}
    - {id: c, set: {}, when: "${{ 'x\\\\\\\\y #1' != '' }}"}
- {id: d, agent: clerk, run_if: all_success}
""",
    TEAM,
)


def test_text_shows_levels_and_needs() -> None:
    assert graph(PLAN, "text").splitlines() == [
        "flow",
        "   1  end  clerk.note",
        "   2  b    for each: clerk.note  <- p",
        "   2  c    set when ${{ 'x\\\\y #1' != '' }}  <- p",
        "   3  d    clerk.note  <- b, c",
    ]


def test_mermaid_numbers_its_nodes_and_escapes_its_labels() -> None:
    lines = graph(PLAN, "mermaid").splitlines()
    assert lines[0] == "flowchart TD"
    assert '  n0["end<br/>clerk.note"]' in lines
    assert '  n1{"p<br/>when ${{ #quot;a#quot; == #quot;#lt;b#gt;#quot; }}"}' in lines
    assert "  n0 -.-> n1" in lines
    assert any("#35;1" in line for line in lines)


def test_dot_escapes_its_labels() -> None:
    lines = graph(PLAN, "dot").splitlines()
    assert lines[0] == 'digraph "flow" {'
    assert '  "p" [shape=diamond, label="p\\nwhen ${{ \\"a\\" == \\"<b>\\" }}"];' in lines
    assert '  "end" -> "p" [style=dashed];' in lines
    assert lines[-1] == "}"


WHOLE = """name: whole
steps:
  - {id: a, agent: clerk, compensate: {agent: clerk, task: note}}
  - id: polish
    loop: {until: "${{ steps.c.output.v > 2 }}", max_iterations: 3}
    steps:
      - {id: b, foreach: [1], steps: [{id: deep, set: {}}]}
      - {id: c, set: {v: 1}}
  - id: s
    switch:
      - {when: "${{ steps.c.output.v > 1 }}", steps: [{id: d, wait: {for: 90s}}]}
      - {default: true, steps: [{id: e, wait: {signal: go}}, {id: f, end: {status: failed}}]}
  - id: race
    enough: 1
    parallel: [{id: g, wait: {until: "2026-01-01T00:00:00Z"}}, {id: h, capability: office, foreach: [1]}]
  - {id: i, set: {}}
on_failure: [{id: j, set: {}}]
finally: [{id: k, set: {}}]
"""


def test_the_whole_language_can_be_drawn() -> None:
    plan = plan_of(WHOLE)
    assert graph(plan, "text").splitlines() == [
        "whole",
        "   1  a         clerk.a undo: clerk.note",
        "   2  polish    loop until ${{ steps.c.output.v > 2 }}, at most 3 rounds  <- a",
        "   3    b       for each item",
        "   4      deep  set",
        "   4    c       set  <- b",
        "   3  d         wait 90s  <- s",
        "   3  e         wait for the signal go  <- s",
        "   4  f         end: failed  <- e",
        "   5  g         wait until 2026-01-01T00:00:00Z  <- d, f",
        "   5  h         for each: capability-office.h  <- d, f",
        "   6  i         set  <- g, h",
        "on_failure",
        "   1  j         set",
        "finally",
        "   1  k         set",
    ]
    mermaid = graph(plan, "mermaid").splitlines()
    assert '  subgraph n1b["each round of polish"]' in mermaid
    assert mermaid.count("  end") + mermaid.count("    end") == 4
    dot = graph(plan, "dot")
    assert 'subgraph "cluster each item of b" {' in dot
    assert dot.count("{") == dot.count("}")


def test_every_format_draws_every_step() -> None:
    for name in FORMATS:
        picture = graph(PLAN, name)
        assert all(step.id in picture for step in PLAN.steps if not step.internal)
        assert not picture.endswith("\n")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="choose mermaid, dot, text"):
        graph(PLAN, "png")
