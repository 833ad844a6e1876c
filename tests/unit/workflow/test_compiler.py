from __future__ import annotations

import time

import pytest

from orchestrator.settings import Settings
from orchestrator.workflow.plan import ForEach, Retry
from tests.unit.workflow.texts import TEAM, edges, messages_of, plan_of, problems_of

# --- order ------------------------------------------------------------------------------------------------------


def test_steps_follow_one_another_unless_needs_say_otherwise() -> None:
    plan = plan_of("""- {id: a, set: {}}
- {id: b, set: {}}
- {id: c, set: {}, needs: [a]}
- {id: d, set: {}, needs: []}
- {id: e, set: {}, needs: [b, c]}
""")
    assert edges(plan) == {"a": (), "b": ("a",), "c": ("a",), "d": (), "e": ("b", "c")}
    assert plan.by_id["a"].next == ("b", "c")
    assert plan.entry == ("a", "d")


def test_a_step_may_need_a_later_one() -> None:
    plan = plan_of("- {id: a, set: {}, needs: [b]}\n- {id: b, set: {}, needs: []}\n")
    assert [step.id for step in plan.steps] == ["b", "a"]


def test_a_plan_keeps_the_order_of_the_file_where_it_can() -> None:
    plan = plan_of("""- {id: a, set: {}}
- parallel:
    - steps: [{id: b, set: {}}, {id: c, set: {}}, {id: d, set: {}}]
    - {id: e, set: {}}
""")
    assert [step.id for step in plan.steps] == ["a", "b", "c", "d", "e"]


def test_after_a_parallel_comes_the_end_of_all_its_branches() -> None:
    plan = plan_of("""- {id: a, set: {}}
- parallel:
    - {id: b, set: {}}
    - steps: [{id: c, set: {}}, {id: d, set: {}}]
- {id: e, set: {}}
""")
    assert edges(plan) == {"a": (), "b": ("a",), "c": ("a",), "d": ("c",), "e": ("b", "d")}


def test_needing_a_parallel_means_its_end() -> None:
    plan = plan_of("""- id: p
  parallel: [{id: a, set: {}}, {id: b, set: {}}]
- {id: c, set: {}, needs: []}
- {id: d, set: {}, needs: [p, c]}
""")
    assert set(edges(plan)["d"]) == {"a", "b", "c"}


def test_a_step_beside_the_others_of_its_branch_belongs_to_the_end() -> None:
    plan = plan_of("""- parallel:
    - steps: [{id: a, set: {}}, {id: b, set: {}, needs: []}]
    - {id: c, set: {}}
- {id: d, set: {}}
""")
    assert set(edges(plan)["d"]) == {"a", "b", "c"}


def test_parallels_inside_one_another_are_flattened() -> None:
    plan = plan_of("""- parallel:
    - parallel: [{id: a, set: {}}, {id: b, set: {}}]
    - {id: c, set: {}}
- {id: d, set: {}}
""")
    closure = {"a", "b", "c"}
    needs = set(edges(plan)["d"])
    while internal := {need for need in needs if plan.by_id[need].internal}:
        needs = (needs - internal) | {deeper for name in internal for deeper in edges(plan)[name]}
    assert needs == closure


def test_the_ends_of_wide_parallels_are_joined_by_one_node() -> None:
    wide = "".join(
        "- parallel:\n" + "".join(f"    - {{id: s{stage}_{at}, set: {{}}}}\n" for at in range(200))
        for stage in range(3)
    )
    plan = plan_of(wide)
    assert sum(len(step.needs) for step in plan.steps) <= 2 * len(plan.steps)
    assert [step.kind for step in plan.steps].count("join") == 2


@pytest.mark.parametrize("run_if", ["all_success", "any_success"])
def test_a_join_stays_where_its_end_is_asked_for(run_if: str) -> None:
    plan = plan_of(f"""- parallel: [{{id: a, set: {{}}}}, {{id: b, set: {{}}}}]
- {{id: c, set: {{}}, run_if: {run_if}}}
""")
    (need,) = edges(plan)["c"]
    assert plan.by_id[need].kind == "join"


@pytest.mark.parametrize("key", ["when: true", "run_if: all_done"])
def test_a_parallel_with_a_condition_has_a_gate(key: str) -> None:
    plan = plan_of(f"""- {{id: a, set: {{}}}}
- id: p
  {key}
  parallel:
    - {{id: b, set: {{}}}}
    - {{id: c, set: {{}}, needs: []}}
- {{id: d, set: {{}}}}
""")
    gate = plan.by_id["p"]
    assert (gate.kind, gate.needs, gate.gate) == ("gate", ("a",), None)
    assert [plan.by_id[name].gate for name in ("a", "b", "c", "d")] == [None, "p", "p", None]
    assert [plan.by_id[name].needs for name in ("b", "c")] == [("p",), ("p",)]


def test_gates_inside_gates_know_the_innermost() -> None:
    plan = plan_of("""- id: p
  when: true
  parallel:
    - id: q
      when: "${{ 1 < 2 }}"
      parallel: [{id: a, set: {}}]
    - {id: b, set: {}}
""")
    assert {step.id: step.gate for step in plan.steps if not step.id.endswith(".end")} == {
        "p": None, "q": "p", "a": "q", "b": "p",
    }  # fmt: skip


def test_parallels_without_an_id_do_not_collide_with_ids() -> None:
    plan = plan_of("""- {id: parallel-1, parallel: [{id: a, set: {}}, {id: b, set: {}}]}
- parallel: [{id: c, set: {}}, {id: d, set: {}}]
- parallel: [{id: e, set: {}}, {id: f, set: {}}]
- {id: g, set: {}, needs: [parallel-1]}
""")
    assert set(edges(plan)["g"]) <= {"a", "b", "parallel-1.end"}
    assert len({step.id for step in plan.steps}) == len(plan.steps)


# --- what a step keeps --------------------------------------------------------------------------------------------


def test_a_step_carries_what_the_file_says() -> None:
    plan = plan_of(
        """name: x
inputs: {t: {type: string}}
priority: high
timeout: 2h
defaults: {retry: {max_attempts: 4, delay: 2s, jitter: true}, timeout: 5m}
steps:
  - {id: a, agent: writer, task: draft, with: {topic: "${{ inputs.t }}"}}
  - {id: b, agent: writer, task: edit, retry: {max_attempts: 2, give_up_on: [KeyError]}, timeout: 1s,
     on_error: continue, priority: low, when: "${{ steps.a.status == 'succeeded' }}"}
  - {id: c, agent: writer, task: draft, foreach: [1, 2], max_parallel: 1, on_item_error: skip,
     with: {topic: "${{ item }} ${{ index }} ${{ secrets.K }}"}}
  - {id: d, set: {v: "${{ steps.b.output }}"}, needs: [b, c]}
outputs: {v: "${{ steps.d.output.v }}"}
""",
        TEAM,
    )
    a, b, c, d = (plan.by_id[name] for name in "abcd")
    assert (plan.priority, plan.timeout_ms, plan.output_reads) == ("high", 7_200_000, ("d",))
    assert (a.retry, a.timeout_ms, a.reads_inputs) == (Retry(4, 2000, jitter=True), 300_000, ("t",))
    assert (b.retry, b.timeout_ms) == (Retry(2, give_up_on=("KeyError",)), 1000)
    assert (b.on_error, b.priority, b.asks, b.reads, b.dispatched) == ("continue", "low", ("a",), (), False)
    assert c.foreach == ForEach([1, 2], 1, "skip")
    assert (d.kind, d.values, d.reads) == ("set", {"v": "${{ steps.b.output }}"}, ("b",))
    assert a.dispatched
    assert a.name == "writer.draft"


def test_when_may_be_a_word() -> None:
    assert plan_of("- {id: a, set: {}, when: false}").by_id["a"].when == "${{ false }}"


def test_a_comment_does_not_change_the_hash_and_a_value_does() -> None:
    first = plan_of("- {id: a, set: {v: 1}}")
    assert plan_of("- id: a # the first\n  set: {v: 1}\n").hash == first.hash
    assert plan_of("- {id: a, set: {v: 2}}").hash != first.hash


# --- mistakes -----------------------------------------------------------------------------------------------------


def test_a_cycle_is_printed() -> None:
    assert messages_of("- {id: a, set: {}, needs: [c]}\n- {id: b, set: {}}\n- {id: c, set: {}}\n") == [
        "3 steps.0: the steps need each other: a -> b -> c -> a"
    ]
    assert messages_of("- {id: a, set: {}, needs: [a]}") == ["3 steps.0: the steps need each other: a -> a"]
    (found,) = messages_of("- id: p\n  parallel: [{id: a, set: {}, needs: [p]}]\n")
    assert found.endswith("a -> p -> a")


def test_mistakes_of_steps_in_a_cycle_are_found_too() -> None:
    found = messages_of("- {id: a, set: {v: '${{ foo }}'}, needs: [a]}\n")
    assert len(found) == 2


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("- {id: a, set: {}}\n- {id: a, set: {}}",
         ["4 steps.1.id: the id 'a' is there twice; the first one is in line 3"]),
        ("- {id: p, parallel: [{id: p, set: {}}]}",
         ["3 steps.0.parallel.0.id: the id 'p' is there twice; the first one is in line 3"]),
        ("- {id: abc, set: {}}\n- {id: b, set: {}, needs: [abd, zzz]}",
         ["4 steps.1.needs.0: no step 'abd' (did you mean abc?)", "4 steps.1.needs.1: no step 'zzz'; there is abc, b"]),
        ("- {needs: [zz], parallel: [{id: a, set: {}}]}", ["3 steps.0.needs.0: no step 'zz'; there is a"]),
        ("- {id: a, set: {}}\n- {id: b, set: {}, needs: [a, a]}", ["4 steps.1.needs.1: needs 'a' twice"]),
        ("- {id: a, set: {}, run_if: any_success}",
         ["3 steps.0.run_if: 'any_success' asks how the steps in `needs` ended, and the step needs none"]),
        ("- {set: {}}", ["3 steps.0: the step has no `id`"]),
        ("- {id: a}",
         ["3 steps.0: the step does nothing: give it `agent`, `capability`, `set`, `wait`, `end`, `workflow`, "
          "`parallel`, `switch`, `loop` or `steps`"]),
        ("- {id: a, agent: writer, capability: writing}", ["3 steps.0: `agent` and `capability` exclude each other"]),
        ("- {id: a, set: {}, agent: writer}", ["3 steps.0: `set` and `agent` exclude each other: a step is one thing"]),
        ("- {id: a, set: {}, timeout: 1s, retry: {}}",
         ["3 steps.0.retry: a `set` has no 'retry': it runs on no agent",
          "3 steps.0.timeout: a `set` has no 'timeout': it runs on no agent"]),
        ("- {id: a, agent: writer, task: edit, max_parallel: 2}",
         ["3 steps.0.max_parallel: 'max_parallel' belongs to a `foreach`, and the step has none"]),
        ("- {id: p, agent: writer, parallel: [{id: a, set: {}}]}",
         ["3 steps.0: `parallel` and `agent` exclude each other: a step is one thing"]),
        ("- {id: p, timeout: 1s, parallel: [{id: a, set: {}}]}",
         ["3 steps.0.timeout: a `parallel` has no 'timeout'; set it on the steps inside"]),
        ("- {id: a, set: {}, when: 'yes'}", ["3 steps.0.when: must be one expression and nothing else: ${{ ... }}"]),
        ("- {id: a, set: {}, when: 'x ${{ true }}'}",
         ["3 steps.0.when: must be one expression and nothing else: ${{ ... }}"]),
        ("- {id: a, agent: writer, task: edit, foreach: abc}",
         ["3 steps.0.foreach: must be one expression and nothing else: ${{ ... }}"]),
    ],
)  # fmt: skip
def test_a_mistake_says_where_and_what_to_do(text: str, messages: list[str]) -> None:
    assert sorted(messages_of(text)) == messages


def test_containers_are_nested_so_deep_and_no_deeper() -> None:
    def nested(depth: int) -> str:
        return "- " + "{parallel: [" * depth + "{id: a, set: {}}" + "]}" * depth

    assert plan_of(nested(31)).by_id["a"]
    (found,) = problems_of(nested(33))
    assert "nested deeper than 32" in found.message


def test_a_workflow_has_a_limit_of_steps() -> None:
    text = "".join(f"- {{id: s{at}, set: {{}}}}\n" for at in range(11))
    (found,) = problems_of(text, limits=Settings(max_steps=10))
    assert found.message == "has 11 steps; the limit is 10"


def test_many_steps_compile_in_no_time() -> None:
    text = "".join(
        f"- {{id: s{at}, agent: clerk, with: {{n: '${{{{ steps.s0.output }}}}'}}}}\n" for at in range(1, 500)
    )
    text = "- {id: s0, agent: clerk}\n" + text
    start = time.process_time()
    assert len(plan_of(text, TEAM).steps) == 500
    assert time.process_time() - start < 5
