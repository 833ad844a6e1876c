from __future__ import annotations

import pytest

from tests.unit.workflow.texts import TEAM, messages_of, plan_of

STEPS = """name: x
inputs: {topic: {type: string}, depth: {type: integer}}
steps:
  - {id: a, set: {v: 1}}
  - id: p
    parallel:
      - {id: b, set: {v: "%s"}}
      - {id: c, set: {v: 1}}
  - {id: d, set: {v: 1}}
"""


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("steps.c.output", "step 'c' may not be done yet: it runs beside this step; write needs: [a, c]"),
        ("steps.d.output", "step 'd' runs only after this step"),
        ("steps.b.output", "a step cannot read itself"),
        ("steps.p.output", "'p' only holds other steps and has no output of its own; read the steps inside it"),
        ("steps.e.output", "no step 'e' (did you mean a?)"),
        ("steps.zzz.output", "no step 'zzz'; there is a, p, b, c, d"),
        ("inputs.topics", "no input 'topics' (did you mean topic?)"),
        ("inputs.zzz", "no input 'zzz'; there is topic, depth"),
        ("item", "'item' exists only inside a `foreach`, and under `with` of a step with one"),
        ("secrets.K", "'secrets' may be read only under `with` of a step that runs on an agent"),
        ("foo(1)", "${{ foo(1) }}: unknown function `foo`"),
    ],
)
def test_a_wrong_read_says_what_to_do(expression: str, message: str) -> None:
    found = messages_of(STEPS.replace("%s", f"${{{{ {expression} }}}}"))
    assert found == [f"7 steps.1.parallel.0.set.v: {message}"] or (expression == "steps.e.output" and len(found) == 1)


def test_every_wrong_read_of_a_text_is_listed() -> None:
    text = STEPS.replace("%s", "${{ steps.d.output }} ${{ item }} ${{ 1 + }} ${{ inputs.zzz }}")
    assert len(messages_of(text)) == 4


def test_a_step_reads_whatever_is_upstream_through_any_container() -> None:
    plan = plan_of("""- {id: a, set: {v: 1}}
- id: p
  when: "${{ steps.a.output.v == 1 }}"
  parallel:
    - {id: b, set: {v: "${{ steps.a.output.v }}"}}
    - steps: [{id: c, set: {v: 1}}, {id: d, set: {v: "${{ steps.c.output.v }}"}}]
- {id: e, set: {v: "${{ steps.d.output.v + steps['a'].output.v }}"}}
""")
    assert plan.by_id["e"].reads == ("a", "d")
    assert plan.by_id["p"].reads == ("a",)


def test_the_items_of_a_foreach_are_known_only_under_with() -> None:
    assert plan_of("- {id: a, agent: clerk, foreach: [1], with: {v: '${{ item }}', n: '${{ index }}'}}", TEAM)
    (found,) = messages_of("- {id: a, agent: clerk, foreach: ['${{ item }}'], with: {v: 1}}")
    assert found.startswith("3 steps.0.foreach: 'item' exists only")
    (found,) = messages_of("- {id: a, agent: clerk, with: {v: '${{ index }}'}}")
    assert found.startswith("3 steps.0.with.v: 'index' exists only")


def test_secrets_are_known_only_under_with() -> None:
    assert plan_of("- {id: a, agent: clerk, with: {v: '${{ secrets.K }}'}}", TEAM).by_id["a"].reads == ()
    (found,) = messages_of("name: x\nsteps: [{id: a, set: {}}]\noutputs:\n  k: '${{ secrets.K }}'\n")
    assert found == "4 outputs.k: 'secrets' may be read only under `with` of a step that runs on an agent"


def test_outputs_may_read_every_step() -> None:
    plan = plan_of("name: x\nsteps: [{id: a, set: {}}, {id: b, set: {}}]\noutputs: {x: '${{ steps.a.output }}'}")
    assert plan.output_reads == ("a",)
    (found,) = messages_of("name: x\nsteps: [{id: a, set: {}}]\noutputs: {x: '${{ steps.q.output }}'}")
    assert found.startswith("3 outputs.x: no step 'q'")


def test_reading_all_inputs_is_known() -> None:
    plan = plan_of("name: x\ninputs: {q: {}}\nsteps: [{id: a, set: {v: '${{ inputs }}'}}, {id: b, set: {}}]")
    assert plan.by_id["a"].reads_inputs is None
    assert plan.by_id["b"].reads_inputs == ()
