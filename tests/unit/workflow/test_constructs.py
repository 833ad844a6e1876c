# ruff: noqa: E501 - one case, one line
"""Each construct of the language and its mistakes: one line that says where, what and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.workflow.catalog import AgentInfo, Catalog, TaskInfo
from tests.unit.workflow.texts import plan_of, problems_of


def told(text: str) -> list[str]:
    return [f"{problem.path}: {problem.message}" for problem in problems_of(text, None)]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            '- {id: a, loop: {until: "x"}, steps: [{id: b, set: {}}]}',
            ["steps.0.loop.max_iterations: 'max_iterations' is missing"],
        ),
        (
            '- {id: a, loop: {until: "${{ true }}", max_iterations: 0}, steps: [{id: b, set: {}}]}',
            ["steps.0.loop.max_iterations: must be at least 1, and is 0"],
        ),
        (
            '- {id: a, loop: {until: "${{ true }}", max_iterations: 2}}',
            ["steps.0: a `loop` needs `steps`"],
        ),
        (
            '- {loop: {until: "${{ true }}", max_iterations: 2}, steps: [{id: b, set: {}}]}',
            ["steps.0: a `loop` needs an `id`"],
        ),
        (
            "- {id: a, loop: {until: 5, max_iterations: two, delay: 5}, steps: [{id: b, set: {}}]}",
            ["steps.0.loop.until: must be an expression `${{ ... }}`, and is 5", "steps.0.loop.max_iterations: must be an integer, and is 'two'", "steps.0.loop.delay: 5 is no duration; write 5s"],
        ),
        (
            '- {id: a, loop: {until: "${{ steps.z.output }}", max_iterations: 2}, steps: [{id: b, set: {}}]}\n- {id: z, set: {}}',
            ["steps.0.loop.until: step 'z' runs only after this step"],
        ),
        (
            '- {id: a, loop: {until: "${{ steps.a.output }}", max_iterations: 2}, steps: [{id: b, set: {v: "${{ round.previous.q.output }}"}}]}',
            ["steps.0.loop.until: a step cannot read itself", "steps.0.steps.0.set.v: no step 'q' in the loop 'a'; there is b"],
        ),
        (
            "- {id: s, switch: []}",
            ["steps.0.switch: must not be empty"],
        ),
        (
            "- {id: s, switch: [{steps: [{id: a, set: {}}]}]}",
            ["steps.0.switch.0: a branch needs either `when` or `default: true`"],
        ),
        (
            '- {id: s, switch: [{when: "${{ true }}", default: true, steps: [{id: a, set: {}}]}]}',
            ["steps.0.switch.0: a branch needs either `when` or `default: true`"],
        ),
        (
            '- {id: s, switch: [{default: true, steps: [{id: a, set: {}}]}, {when: "${{ true }}", steps: [{id: b, set: {}}]}]}',
            ["steps.0.switch.0: `default` is the last branch; those after it are never reached"],
        ),
        (
            "- {id: s, switch: [{default: false, steps: [{id: a, set: {}}]}]}",
            ["steps.0.switch.0.default: must be true: it marks the last branch"],
        ),
        (
            '- {id: s, switch: [{wen: "${{ true }}", steps: [{id: a, set: {}}]}]}',
            ["steps.0.switch.0.wen: unknown key 'wen' (did you mean when?)"],
        ),
        (
            '- {id: s, switch: {when: "${{ true }}"}}',
            ["steps.0.switch: must be a list, and is a mapping"],
        ),
        (
            '- {id: s, switch: [{when: "${{ steps.a.output.x }}", steps: [{id: a, set: {x: 1}}]}]}',
            ["steps.0.switch.0.when: step 'a' runs only after this step"],
        ),
        (
            "- {id: w, wait: 5m}",
            ["steps.0.wait: must be a mapping, and is '5m'"],
        ),
        (
            "- {id: w, wait: {}}",
            ["steps.0.wait: a `wait` needs exactly one of `signal`, `for` and `until`"],
        ),
        (
            "- {id: w, wait: {for: 5}}",
            ["steps.0.wait.for: 5 is no duration; write 5s"],
        ),
        (
            "- {id: w, wait: {for: 5m, signal: x}}",
            ["steps.0.wait: a `wait` needs exactly one of `signal`, `for` and `until`"],
        ),
        (
            "- {id: w, wait: {for: 5m, timeout: 1m}}",
            ["steps.0.wait.timeout: 'timeout' belongs to a `signal`; a time to wait for comes by itself"],
        ),
        (
            "- {id: w, wait: {signal: x, on_timeout: fail}}",
            ["steps.0.wait.on_timeout: 'on_timeout' needs a `timeout`"],
        ),
        (
            "- {id: w, wait: {signal: x, timeout: 1m, on_timeout: explode}}",
            ["steps.0.wait.on_timeout: 'explode' is not one of fail, continue"],
        ),
        (
            '- {id: w, wait: {signal: "a b"}}',
            ["steps.0.wait.signal: 'a b' is no name here: use letters, digits, '_', '-', '.' and ':', 100 at most"],
        ),
        (
            "- {id: w, wait: {until: tomorrow}}",
            ["steps.0.wait.until: 'tomorrow' is no time; write it as 2026-12-24T18:00:00+01:00, or with Z for UTC"],
        ),
        (
            '- {id: w, wait: {until: "2026-01-01T00:00:00"}}',
            ["steps.0.wait.until: '2026-01-01T00:00:00' has no time zone; write it as 2026-12-24T18:00:00+01:00, or with Z for UTC"],
        ),
        (
            "- {id: w, wait: {signal: x}, retry: {max_attempts: 2}}",
            ["steps.0.retry: a `wait` has no 'retry': it runs on no agent"],
        ),
        (
            "- {id: w, workflow: 5}",
            ["steps.0.workflow: must be text, and is 5; put it in quotes"],
        ),
        (
            '- {id: w, workflow: ""}',
            ["steps.0.workflow: must not be empty"],
        ),
        (
            "- {id: f, foreach: {a: 1}, agent: x}",
            ["steps.0.foreach: must be a list, or an expression `${{ ... }}` that gives one, and is a mapping"],
        ),
        (
            "- {id: f, foreach: [1], set: {}}",
            ["steps.0: `foreach` goes with an agent, a `workflow` or `steps`; put the `set` under `steps`"],
        ),
        (
            "- {id: f, foreach: [1], steps: []}",
            ["steps.0.steps: must not be empty"],
        ),
        (
            '- {id: f, foreach: [1], steps: [{id: b, set: {}}]}\n- {id: c, set: {v: "${{ steps.b.output }}"}}',
            ["steps.1.set.v: 'b' is inside the foreach 'f'; read steps.f.output, a list"],
        ),
        (
            "- {id: f, foreach: [1], steps: [{id: b, set: {}}]}\n- {id: c, set: {}, needs: [b]}",
            ["steps.1.needs.0: 'b' is inside 'f'; write needs: [f]"],
        ),
        (
            "- {id: o, set: {}}\n- {id: f, foreach: [1], steps: [{id: b, set: {}, needs: [o]}]}",
            ["steps.1.steps.0.needs.0: 'o' is outside of 'f'; write it under `needs` of 'f'"],
        ),
        (
            '- {id: f, foreach: [1], steps: [{id: b, set: {v: "${{ steps.f.output }}"}}]}',
            ["steps.0.steps.0.set.v: 'f' is around this step, so it is not done yet; read the steps inside it"],
        ),
        (
            "- {id: a, agent: x, fallback: {}}",
            ["steps.0.fallback.agent: 'agent' is missing"],
        ),
        (
            "- {id: a, agent: x, fallback: {agent: y, retry: 1}}",
            ["steps.0.fallback.retry: unknown key 'retry'; known are agent, task"],
        ),
        (
            "- {id: a, set: {}, fallback: {agent: y}}",
            ["steps.0.fallback: a `set` has no 'fallback': it runs on no agent"],
        ),
        (
            "- {id: a, agent: x, compensate: {task: y}}",
            ["steps.0.compensate: a compensation needs either `agent` or `capability`"],
        ),
        (
            "- {id: a, agent: x, compensate: {agent: y, capability: z}}",
            ["steps.0.compensate: a compensation needs either `agent` or `capability`"],
        ),
        (
            "- {id: a, set: {}, compensate: {agent: y}}",
            ["steps.0.compensate: a `set` has no 'compensate': it runs on no agent"],
        ),
        (
            '- {id: a, agent: x, compensate: {agent: y, with: {v: "${{ steps.later.output }}"}}}\n- {id: later, set: {}}',
            ["steps.0.compensate.with.v: step 'later' runs only after this step"],
        ),
        (
            "- {id: a, agent: x, limits: [{key: k}]}",
            ["steps.0.limits.0: a limit needs either `rate` or `max`"],
        ),
        (
            "- {id: a, agent: x, limits: [{key: k, rate: 60}]}",
            ["steps.0.limits.0.rate: 60 is no rate; write it as 60/1m or 5/1s"],
        ),
        (
            "- {id: a, agent: x, limits: [{key: k, rate: 0/1m}]}",
            ["steps.0.limits.0.rate: '0/1m' is no rate; write it as 60/1m or 5/1s"],
        ),
        (
            "- {id: a, agent: x, limits: [{key: k, rate: 5/1x, max: 0}]}",
            ["steps.0.limits.0.rate: '1x' is no duration; write it as 500ms, 30s, 5m, 24h or 7d", "steps.0.limits.0.max: must be at least 1, and is 0"],
        ),
        (
            "- {id: a, agent: x, limits: {key: k}}",
            ["steps.0.limits: must be a list, and is a mapping"],
        ),
        (
            "- {id: a, agent: x, cache: {key: k}}",
            ["steps.0.cache.ttl: 'ttl' is missing"],
        ),
        (
            "- {id: a, agent: x, cache: {key: k, ttl: 0s}}",
            ["steps.0.cache.ttl: must be longer than 0, and is '0s'"],
        ),
        (
            "- {id: a, agent: x, output_schema: {type: strin}}",
            ["steps.0.output_schema: is no JSON Schema: 'strin' is not valid under any of the given schemas"],
        ),
        (
            '- {id: a, agent: x, output_schema: {type: object, properties: {value: {type: number}}}}\n- {id: b, set: {v: "${{ steps.a.output.vale }}", w: "${{ steps.a.output.value.x }}"}}',
            ["steps.1.set.v: steps.a.output: it has no field `vale` (did you mean value?)", "steps.1.set.w: steps.a.output: it is a number and has no field `x`"],
        ),
        (
            '- {id: a, set: {foo: 1}}\n- {id: b, set: {v: "${{ steps.a.output.fo }}"}}',
            ["steps.1.set.v: steps.a.output: it has no field `fo` (did you mean foo?)"],
        ),
        (
            '- {id: a, agent: x, foreach: [1]}\n- {id: b, set: {v: "${{ steps.a.output.fo }}"}}',
            ["steps.1.set.v: steps.a.output: it is a list and has no field `fo`"],
        ),
        (
            "- {id: a, steps: []}",
            ["steps.0.steps: must not be empty"],
        ),
        (
            "- {id: a, agent: x, steps: [{id: b, set: {}}]}",
            ["steps.0: `agent` and `steps` exclude each other: a step is one thing"],
        ),
        (
            '- {id: a, loop: {until: "${{ true }}", max_iterations: 1}, foreach: [1], steps: [{id: b, set: {}}]}',
            ["steps.0: `foreach` goes with an agent, a `workflow` or `steps`; put the `loop` under `steps`"],
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_a_step(text: str, messages: list[str]) -> None:
    assert told(text) == messages


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "idempotency: {}",
            ["idempotency.key: 'key' is missing"],
        ),
        (
            'idempotency: {key: "${{ steps.a.output }}"}',
            ["idempotency.key: 'steps' is not known before the run; a key may read only `inputs`"],
        ),
        (
            "idempotency: {key: x, on_duplicate: explode, ttl: 5}",
            ["idempotency.ttl: 5 is no duration; write 5s", "idempotency.on_duplicate: 'explode' is not one of return_existing, reject"],
        ),
        (
            "concurrency: {key: k, max_runs: 0}",
            ["concurrency.max_runs: must be at least 1, and is 0"],
        ),
        (
            'concurrency: {key: "${{ inputs.q }}", on_limit: wait}',
            ["concurrency.on_limit: 'wait' is not one of queue, reject, cancel_oldest", "concurrency.key: no input 'q'"],
        ),
        (
            "schedule: {}",
            ["schedule.cron: 'cron' is missing"],
        ),
        (
            'schedule: {cron: "61 * * * *"}',
            ["schedule.cron: '61 * * * *' is no cron line: bad minute; write five fields, as in '0 9 * * MON-FRI'"],
        ),
        (
            'schedule: {cron: "0 0 31 2 *"}',
            ["schedule.cron: '0 0 31 2 *' is never due: there is no such day in that month"],
        ),
        (
            'schedule: {cron: "* * * * *", timezone: Moon}',
            ["schedule.timezone: no time zone 'Moon'; names are like UTC, Europe/Berlin, America/New_York"],
        ),
        (
            'schedule: {cron: "* * * * *", inputs: {a: 1}, overlap: no, catchup: 5}',
            ["schedule.overlap: 'no' is not one of skip, allow, queue", "schedule.catchup: 5 is not one of none, latest, all", "schedule.inputs.a: no input 'a'"],
        ),
        (
            "retention: {succeeded: 5, failed: x}",
            ["retention.succeeded: 5 is no duration; write 5s", "retention.failed: 'x' is no duration; write it as 500ms, 30s, 5m, 24h or 7d"],
        ),
        (
            "retention: 5d",
            ["retention: must be a mapping, and is '5d'"],
        ),
        (
            "on_failure: {}",
            ["on_failure: must be a list, and is a mapping"],
        ),
        (
            "on_failure: [{id: a, set: {}}]",
            ["on_failure.0.id: the id 'a' is there twice; the first one is in line 2"],
        ),
        (
            'on_failure: [{id: z, set: {v: "${{ steps.zz.output }}"}}]',
            ["on_failure.0.set.v: no step 'zz' (did you mean z?)"],
        ),
        (
            "finally: [{id: z, set: {}, needs: [a]}]",
            ["finally.0.needs.0: 'a' is one of the steps, which are over or have not begun by then"],
        ),
        (
            'on_failure: [{id: q, set: {}}]\noutputs: {v: "${{ steps.q.output }}"}',
            ["outputs.v: step 'q' is part of `on_failure`, which has not begun by then"],
        ),
        (
            "tests: [{name: t}]",
            ["tests.0.expect: 'expect' is missing"],
        ),
        (
            "tests: [{name: t, mock: {b: 1}, inputs: {q: 1}, expect: {ran: [zz], status: ok}}]",
            ["tests.0.expect.status: 'ok' is not one of succeeded, failed, cancelled", "tests.0.inputs.q: no input 'q'", "tests.0.mock.b: no step 'b'; there is a", "tests.0.expect.ran.0: no step 'zz'; there is a"],
        ),
        (
            "tests: {}",
            ["tests: must be a list, and is a mapping"],
        ),
    ],
)  # fmt: skip
def test_a_mistake_beside_the_steps(text: str, messages: list[str]) -> None:
    assert told(f"name: x\nsteps: [{{id: a, set: {{}}}}]\n{text}\n") == messages


def child(folder: Path, text: str, name: str = "child.yaml") -> None:
    (folder / name).write_text(f"name: child\n{text}")


CHILD = """inputs: {text: {type: string}, depth: {type: integer, default: 1}}
steps: [{id: a, set: {v: 1}}]
outputs: {result: "${{ steps.a.output.v }}"}
"""


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("- {id: w, workflow: nope.yaml}", ["steps.0.workflow: no such file: {folder}/nope.yaml"]),
        ("- {id: w, workflow: child.yaml}", ["steps.0: child needs 'text' under `with`"]),
        ("- {id: w, workflow: child.yaml, with: {text: 5, tex: 1}}",
         ["steps.0.with.text: must be a string, and is 5",
          "steps.0.with.tex: child has no input 'tex' (did you mean text?)"]),
        ("- {id: w, workflow: child.yaml, with: {text: a}}\n- {id: x, set: {v: '${{ steps.w.output.rsult }}'}}",
         ["steps.1.set.v: steps.w.output: it has no field `rsult` (did you mean result?)"]),
        ("- {id: w, workflow: child.yaml, with: {text: '${{ secrets.K }}'}}",
         ["steps.0.with.text: 'secrets' may be read only under `with` of a step that runs on an agent"]),
    ],
)  # fmt: skip
def test_a_mistake_about_a_child(tmp_path: Path, text: str, messages: list[str]) -> None:
    child(tmp_path, CHILD)
    found = problems_of(text, None, file=tmp_path / "parent.yaml")
    expected = [message.replace("{folder}", str(tmp_path)) for message in messages]
    assert [f"{problem.path}: {problem.message}" for problem in found] == expected


def test_mistakes_of_a_child_are_told_with_its_file(tmp_path: Path) -> None:
    child(tmp_path, "steps: [{id: a, set: {v: '${{ foo }}'}}]\n")
    (found,) = problems_of("- {id: w, workflow: child.yaml}", None, file=tmp_path / "parent.yaml")
    assert (Path(found.file).name, found.line) == ("child.yaml", 2)


def test_a_workflow_does_not_run_itself_and_not_without_end(tmp_path: Path) -> None:
    child(tmp_path, "steps: [{id: a, workflow: ../self/child.yaml}]\n".replace("../self/", ""))
    (found,) = problems_of("- {id: w, workflow: child.yaml}", None, file=tmp_path / "parent.yaml")
    assert found.message == "the workflow runs itself: child.yaml -> child.yaml"
    for at in range(12):
        child(tmp_path, f"steps: [{{id: a, workflow: c{at + 1}.yaml}}]\n", f"c{at}.yaml")
    found = problems_of("- {id: w, workflow: c0.yaml}", None, file=tmp_path / "parent.yaml")
    assert [problem.message for problem in found] == ["workflows run workflows deeper than 10"]


def test_children_are_pinned_with_their_parent(tmp_path: Path) -> None:
    child(tmp_path, CHILD)
    text = "- {id: w, workflow: child.yaml, with: {text: a}}"
    before = plan_of(text, file=tmp_path / "parent.yaml")
    child(tmp_path, CHILD.replace("v: 1", "v: 2"))
    after = plan_of(text, file=tmp_path / "parent.yaml")
    assert before.hash != after.hash
    assert before.child(before.by_id["w"].child or "").name == "child"


SCORE = {"type": "object", "properties": {"value": {"anyOf": [{"$ref": "#/$defs/V"}, {"type": "null"}]}},
         "$defs": {"V": {"type": "object", "properties": {"n": {"type": "integer"}}}}}  # fmt: skip
CRITIC = Catalog((AgentInfo("critic", tasks=(TaskInfo("score", output_schema=SCORE),)),))


@pytest.mark.parametrize(
    ("read", "message"),
    [
        ("steps.a.output.value.n", None),
        ("steps.a.output.valu", "it has no field `valu` (did you mean value?)"),
        ("steps.a.output.value.m", "`value` of it has no field `m`"),
        ("has(steps.a.output.valu)", None),
        ("steps.a.output.value.n.x", "it is an integer and has no field `x`"),
    ],
)
def test_what_an_agent_returns_is_known_before_the_run(read: str, message: str | None) -> None:
    text = f"- {{id: a, agent: critic}}\n- {{id: b, set: {{v: '${{{{ {read} }}}}'}}}}"
    if message is None:
        assert plan_of(text, CRITIC)
    else:
        (found,) = problems_of(text, CRITIC)
        assert message in found.message


# --- what becomes of it -------------------------------------------------------------------------------------------


def test_a_switch_is_a_node_that_decides_and_a_gate_for_each_branch() -> None:
    plan = plan_of("""- id: s
  switch:
    - {when: "${{ 1 < 2 }}", steps: [{id: a, set: {}}, {id: b, set: {}, needs: []}]}
    - {default: true, steps: [{id: c, set: {}}]}
- {id: d, set: {}}
""")
    kinds = {step.id: step.kind for step in plan.steps}
    assert (kinds["s"], kinds["s.0"], kinds["s.1"]) == ("switch", "branch", "branch")
    assert plan.by_id["s"].conditions == ("${{ 1 < 2 }}", None)
    assert [(plan.by_id[name].gate, plan.by_id[name].needs) for name in "abc"] == [
        ("s.0", ("s.0",)), ("s.0", ("s.0",)), ("s.1", ("s.1",)),
    ]  # fmt: skip
    assert set(plan.by_id["d"].needs) == {"a", "b", "c"}


def test_a_loop_is_one_node_with_a_body_of_its_own() -> None:
    plan = plan_of("""- {id: a, set: {}}
- id: l
  loop: {until: "${{ steps.c.output.v > round.index }}", max_iterations: 3, delay: 1s}
  steps:
    - {id: b, set: {v: "${{ round.previous.c.output.v }}"}}
    - id: inner
      loop: {until: true, max_iterations: 1}
      steps: [{id: d, set: {}}]
    - {id: c, set: {v: "${{ steps.d.output }}"}}
- {id: e, set: {v: "${{ steps.c.output }}"}}
""")
    loop = plan.by_id["l"]
    assert set(loop.body) == {"b", "inner", "d", "inner.end", "c", "l.end"}
    assert (loop.entry, loop.loop and loop.loop.previous, loop.reads) == (("b",), ("c",), ("c",))
    assert [plan.by_id[name].scope for name in ("b", "inner", "d", "e")] == ["l", "l", "inner", None]
    assert plan.by_id["e"].needs == ("l",)
    assert plan.part("main") == tuple(plan.by_id[name] for name in ("a", "l", "e"))


def test_a_foreach_over_steps_gives_the_output_of_the_last_of_them() -> None:
    plan = plan_of("""- id: f
  foreach: [1]
  steps:
    - {id: a, set: {v: "${{ item }}"}}
    - {id: b, set: {v: "${{ steps.a.output.v + index }}"}}
""")
    assert (plan.by_id["f"].last, plan.by_id["f"].entry) == ("b", ("a",))
    assert [(plan.by_id[name].depth, plan.by_id[name].each) for name in ("f", "a", "b")] == [
        (0, None), (1, "f"), (1, "f"),
    ]  # fmt: skip


def test_compensations_and_the_other_phases_are_no_part_of_the_main_one() -> None:
    plan = plan_of("""name: x
steps: [{id: a, agent: x, compensate: {agent: y, with: {v: "${{ steps.a.output }}"}}}]
on_failure: [{id: b, set: {v: "${{ run.error.message }}"}}]
finally: [{id: c, set: {v: "${{ steps.b.status }}"}}]
""")
    assert (plan.entry, plan.entry_of("on_failure"), plan.entry_of("finally")) == (("a",), ("b",), ("c",))
    assert (plan.by_id["a.compensate"].undoes, plan.by_id["a.compensate"].reads) == ("a", ("a",))
