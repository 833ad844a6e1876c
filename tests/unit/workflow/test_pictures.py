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


def test_every_format_draws_every_step() -> None:
    for name in FORMATS:
        picture = graph(PLAN, name)
        assert all(step.id in picture for step in PLAN.steps if not step.internal)
        assert not picture.endswith("\n")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="choose mermaid, dot, text"):
        graph(PLAN, "png")
