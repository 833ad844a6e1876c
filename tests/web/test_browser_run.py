"""The page of one run in Chromium, on a real Flower with real workers."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from orchestrator import RunHandle, RunState, StepState
from tests.acceptance.team import Team
from tests.waiting import wait_until
from tests.web.browsing import Window, flower

ROUNDS = """
steps:
  - id: twice
    loop: {until: "${{ round.index == 1 }}", max_iterations: 2}
    steps: [{id: ask, wait: {signal: go}}]
"""
NESTED = """
inputs: {sign: {type: boolean, default: true}}
steps:
  - {id: outline, agent: hand, task: echo, with: {value: {title: Tea}}}
  - {id: each, foreach: "${{ [1, 2, 3, 4] }}", agent: many, task: echo, with: {value: "${{ item }}"}}
  - {id: images, needs: [outline], when: "${{ !inputs.sign }}", agent: hand, task: echo}
  - parallel:
      - {id: facts, agent: hand, task: flaky, with: {times: 1}, retry: {max_attempts: 3, delay: 100ms}}
      - steps:
          - {id: write, agent: many, task: linger}
          - {id: edit, agent: many, task: linger}
  - id: polish
    loop: {until: "${{ round.index >= 1 }}", max_iterations: 3}
    steps: [{id: score, agent: many, task: echo}]
  - id: route
    switch:
      - {when: "${{ inputs.sign }}", steps: [{id: ask, wait: {signal: approval}}]}
      - {default: true, steps: [{id: auto, set: {ok: true}}]}
  - id: nest
    foreach: "${{ [1, 2] }}"
    steps: [{id: inner, agent: many, task: echo}]
finally: [{id: clean, agent: many, task: echo}]
"""
HOLDS = """
inputs: {path: {type: string}}
steps:
  - {id: first, agent: many, task: echo}
  - {id: hold, agent: many, task: hold, with: {until: "${{ inputs.path }}", value: done}}
  - {id: last, agent: many, task: echo}
"""
HOSTILE = "<script>alert(1)</script>"
Windows = Callable[..., Window]


def unit(page: Page, name: str) -> Any:
    return page.locator(f'#graph [data-unit="{name}"]')


def box(page: Page, name: str) -> dict[str, float]:
    found = unit(page, name).bounding_box()
    assert found is not None, name
    return dict(found)


def inside(inner: dict[str, float], outer: dict[str, float]) -> bool:
    return all(
        outer[at] <= inner[at] and inner[at] + inner[size] <= outer[at] + outer[size]
        for at, size in (("x", "width"), ("y", "height"))
    )


def is_in(state: str) -> re.Pattern[str]:
    return re.compile(rf"\b{state}\b")


def waiting(crew: Team, text: str, step: str, **inputs: Any) -> RunHandle:
    """A run that has come to a step which waits."""
    run = crew.submit(text, inputs)
    crew.wait_for_state(run, step, StepState.WAITING)
    return run


def test_the_graph_goes_from_left_to_right_and_nests_as_the_file_does(crew: Team, window: Windows) -> None:
    page = window().open_run(waiting(crew, NESTED, "ask").id)
    left_to_right = ["outline", "each", "parallel.1", "polish", "route", "nest"]
    edges = [(box(page, name)["x"], box(page, name)["x"] + box(page, name)["width"]) for name in left_to_right]
    assert all(end < start for (_, end), (start, _) in pairwise(edges))
    for inner, outer in (
        ("facts", "parallel.1"), ("write", "parallel.1"), ("edit", "parallel.1"), ("score", "polish"),
        ("ask", "route.0"), ("auto", "route.1"), ("route.0", "route"), ("inner", "nest"), ("clean", ".finally"),
    ):  # fmt: skip
        assert inside(box(page, inner), box(page, outer)), f"{inner} in {outer}"
    assert box(page, "facts")["y"] != box(page, "write")["y"] == box(page, "edit")["y"]
    for name, state in (
        ("outline", "✓ succeeded"), ("facts", "✓ succeeded · attempt 2"), ("images", "» skipped"),
        ("ask", "◔ waiting · for approval"), ("auto", "» skipped"), ("inner", "○ pending"), ("clean", "○ pending"),
    ):  # fmt: skip
        expect(unit(page, name).locator(".state")).to_contain_text(state)
    expect(unit(page, "polish").locator(".box-title")).to_contain_text("✓ succeeded")


@pytest.mark.long
def test_a_foreach_is_one_box_with_counts_that_opens(crew: Team, window: Windows) -> None:
    run = waiting(crew, NESTED, "ask")
    page = window().open_run(run.id)
    expect(unit(page, "each").locator(".state")).to_contain_text("4 of 4")
    track, fill = (unit(page, "each").locator(name).get_attribute("width") for name in (".track", ".fill"))
    assert track == fill
    assert unit(page, "each").locator(".cell").count() == 0
    below = box(page, "each")["height"]
    toggle = unit(page, "each").locator(".toggle")
    toggle.focus()
    page.keyboard.press("Enter")
    assert unit(page, "each").locator(".cell.succeeded").count() == 4
    assert box(page, "each")["height"] > below
    expect(unit(page, "each").locator(".toggle")).to_be_focused()
    unit(page, "each").locator(".cell").nth(2).click()
    expect(page.locator("#step h2")).to_contain_text("each[2]")
    expect(page.locator("#step pre[aria-label=Output]")).to_have_text("3")


def test_a_colour_changes_live_and_nothing_else_is_touched(crew: Team, window: Windows) -> None:
    file = crew.new_file()
    run = crew.submit(HOLDS, {"path": str(file)})
    crew.wait_for_start(run, "hold")
    page = window().open_run(run.id)
    expect(unit(page, "hold")).to_have_class(is_in("running"))
    expect(page.locator("#live")).to_have_text("yes")
    before = unit(page, "hold").locator(".face").evaluate("(face) => getComputedStyle(face).fill")
    page.evaluate("""() => {
        window.touched = [];
        window.first = document.querySelector('#graph [data-unit=first]');
        new MutationObserver((all) => window.touched.push(...all.map((one) => one.target.nodeName)))
          .observe(window.first, {subtree: true, childList: true, attributes: true, characterData: true});
    }""")
    file.touch()
    expect(unit(page, "hold")).to_have_class(is_in("succeeded"))
    expect(unit(page, "last")).to_have_class(is_in("succeeded"))
    expect(page.locator("#status")).to_have_text("succeeded")
    expect(page.locator("#live")).to_have_text("the run is over")
    assert unit(page, "hold").locator(".face").evaluate("(face) => getComputedStyle(face).fill") != before
    assert page.evaluate("[window.touched, window.first.isConnected]") == [[], True]  # nor was the page loaded again
    expect(page.locator("#rows tr", has_text="last").locator(".badge")).to_have_text("succeeded")
    expect(page.locator("#events tr").first).to_contain_text("run.succeeded")


@pytest.mark.long
def test_the_timeline_shows_queue_attempts_and_waits(crew: Team, window: Windows) -> None:
    page = window().open_run(waiting(crew, NESTED, "ask").id)
    rows = page.locator("#timeline a")
    facts = rows.filter(has=page.locator("text=facts"))
    kinds = facts.locator("rect").evaluate_all("(bars) => bars.map((bar) => bar.getAttribute('class'))")
    assert kinds[-4:] == ["bar run failed", "bar retry retry", "bar queue queue", "bar run succeeded"]
    starts = facts.locator("rect").evaluate_all("(bars) => bars.map((bar) => Number(bar.getAttribute('x')))")
    assert starts == sorted(starts)
    assert facts.locator("rect.retry title").text_content() is not None
    expect(facts.locator(".mark")).to_have_text("✕")
    asks = rows.filter(has=page.locator("text=ask")).locator("rect.wait")
    width = float(asks.get_attribute("width") or 0)
    wait_until(lambda: float(asks.get_attribute("width") or 0) > width, what="the bar to grow", timeout_s=5)


@pytest.mark.long
def test_what_was_typed_for_one_round_is_not_sent_for_the_next(crew: Team, window: Windows) -> None:
    run = waiting(crew, ROUNDS, "ask")
    page = window().open_run(run.id)
    page.get_by_label("Answer, as JSON").fill('{"round": 0}')
    run.approve("ask")
    expect(page.get_by_label("Answer, as JSON")).to_have_value("")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#told")).to_have_text("ask is approved.")
    run.wait(20)
    assert run.document()["steps"]["ask"]["output"] == {"approved": True}


def test_a_step_is_approved_by_its_button(crew: Team, window: Windows) -> None:
    run = waiting(crew, NESTED, "ask")
    page = window().open_run(run.id)
    page.get_by_label("Answer, as JSON").fill("{not json")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".ask .error")).to_contain_text("no JSON")
    page.get_by_label("Answer, as JSON").fill('{"by": "Ada"}')
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#told")).to_have_text("ask is approved.")
    expect(page.locator("#status")).to_have_text("succeeded")
    expect(page.locator("#asks")).to_be_hidden()
    assert run.document()["steps"]["ask"]["output"] == {"by": "Ada"}


@pytest.mark.long
def test_a_step_is_rejected_with_a_reason(crew: Team, window: Windows) -> None:
    run = waiting(crew, "steps: [{id: ask, wait: {signal: approval}}]", "ask")
    page = window().open_run(run.id)
    page.get_by_label("Reason").fill("numbers are of last year")
    page.get_by_role("button", name="Reject").click()
    expect(page.locator("#status")).to_have_text("failed")
    expect(page.locator("#error-text")).to_have_text("Rejected: numbers are of last year")
    assert run.status() is RunState.FAILED


def test_a_run_is_paused_resumed_and_cancelled(crew: Team, window: Windows) -> None:
    file = crew.new_file()
    run = crew.submit(HOLDS, {"path": str(file)})
    crew.wait_for_start(run, "hold")
    page = window().open_run(run.id)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status")).to_have_text("paused")
    assert run.status() is RunState.PAUSED
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()  # the window confirms
    expect(page.locator("#status")).to_have_text("cancelled")
    file.touch()
    last = page.locator("#rows tr", has=page.locator("a", has_text=re.compile("^last$")))
    expect(last).to_contain_text("Never started: the run was cancelled.")


@pytest.mark.long
def test_a_run_runs_again_from_a_step(crew: Team, window: Windows) -> None:
    file = crew.new_file()
    file.touch()
    run = crew.run(HOLDS, {"path": str(file)})
    page = window().open_run(run.id)
    page.locator("#rows a", has_text="hold").click()
    page.get_by_role("button", name="Run again from here").click()
    page.wait_for_url(lambda address: run.id not in address)
    expect(page.locator("#remarks")).to_contain_text(f"Repeats run {run.id}")
    expect(page.locator("#status")).to_have_text("succeeded")
    expect(unit(page, "first").locator(".state")).to_contain_text("taken over")


def test_what_agents_and_people_wrote_is_shown_as_text(crew: Team, window: Windows) -> None:
    run = crew.run(
        """
        inputs: {text: {type: string}}
        steps:
          - {id: say, agent: hand, task: echo, with: {value: "${{ inputs.text }}"}}
          - {id: fails, agent: hand, task: fail, with: {message: "${{ inputs.text }}"}}
        """,
        {"text": f"{HOSTILE}</script><img src=x onerror=alert(2)> --><!--"},
    )
    made = window()
    dialogs: list[str] = []
    made.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page = made.open_run(run.id)
    expect(page.locator("#error-text")).to_contain_text(f"ValueError: {HOSTILE}</script><img")
    page.locator("#rows a", has_text="say").click()
    for label in ("Input", "Output"):
        expect(page.locator(f"#step pre[aria-label={label}]")).to_contain_text(f"{HOSTILE}</script><img")
    page.keyboard.press("Escape")
    expect(page.locator("#step")).to_be_hidden()
    page.locator("#rows a", has_text="fails").click()
    page.locator("#step summary", has_text="Traceback").click()
    expect(page.locator("#step pre[aria-label=Traceback]")).to_contain_text("raise ValueError(message)")
    assert page.locator("main script:not([type='application/json'])").count() == 0
    assert page.locator("main img").count() == 0
    assert dialogs == []


def test_a_step_leads_to_its_task_in_flower_and_back(crew: Team, window: Windows) -> None:
    run = crew.run("steps: [{id: say, agent: hand, task: echo}]")
    made = window()
    page = made.open(f"/workflows/{run.id}#step=say")
    there = page.get_by_role("link", name="The task in Flower")
    address = f"{made.origin}{there.get_attribute('href')}"
    wait_until(lambda: page.request.get(address).ok, what="Flower to hear of the task", timeout_s=20)
    there.click()
    page.get_by_role("link", name=f"run {run.id}").click()
    expect(page.locator("h1")).to_contain_text("succeeded")


def test_without_javascript_the_page_can_be_read(crew: Team, window: Windows) -> None:
    run = crew.run(
        """
        steps:
          - {id: no, when: "${{ false }}", agent: hand, task: echo}
          - {id: bad, agent: hand, task: fail}
          - {id: never, agent: hand, task: echo}
        """
    )
    page = window(java_script_enabled=False).open(f"/workflows/{run.id}")
    expect(page.locator("h1")).to_contain_text("failed")
    expect(page.locator("#error-text")).to_have_text("ValueError: no luck")
    rows = page.locator("#rows tr")
    expect(rows.nth(0)).to_contain_text("Skipped: its condition ${{ false }} is false.")
    expect(rows.nth(1)).to_contain_text("Failed: ValueError: no luck")
    expect(rows.nth(2)).to_contain_text("Never started: the run failed.")
    expect(page.locator("#events tr").first).to_contain_text("run.failed")


def test_read_only_pages_have_no_button_that_changes_anything(crew: Team, browser: Browser) -> None:
    run = waiting(crew, "steps: [{id: ask, wait: {signal: approval}}]", "ask")
    with flower(crew, "--read-only") as link:
        made = Window(browser, link)
        made.page.goto(link)
        page = made.open_run(run.id)
        expect(unit(page, "ask")).to_have_class(is_in("waiting"))
        assert page.locator("#actions button, #asks button").count() == 0
        made.close()
    assert made.complaints == []


def test_a_window_that_nobody_sees_gives_its_connection_back_and_catches_up(crew: Team, window: Windows) -> None:
    file = crew.new_file()
    run = crew.submit(HOLDS, {"path": str(file)})
    crew.wait_for_start(run, "hold")
    made = window()
    page = made.open_run(run.id)
    expect(page.locator("#live")).to_have_text("yes")
    see = """(hidden) => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with page.expect_event("requestfailed", lambda request: "/events?" in request.url):
        page.evaluate(see, True)
    file.touch()
    run.wait(20)
    expect(page.locator("#status")).to_have_text("running")
    page.evaluate(see, False)
    expect(page.locator("#status")).to_have_text("succeeded")
    assert len([address for address in made.requests if "/events?" in address]) == 2


@pytest.mark.long
def test_nothing_breaks_wcag_aa_in_light_and_dark(crew: Team, window: Windows, axe: str) -> None:
    waits = waiting(crew, NESTED, "ask")
    failed = crew.run("steps: [{id: bad, agent: hand, task: fail}, {id: never, agent: hand, task: echo}]")
    for scheme in ("light", "dark"):
        made = window(color_scheme=scheme)
        page = made.open_run(waits.id)
        unit(page, "each").locator(".toggle").click()
        assert made.violations(axe) == [], scheme
        page = made.open_run(failed.id)
        page.locator("#rows a", has_text="bad").click()
        expect(page.locator("#step")).to_be_visible()
        assert made.violations(axe) == [], scheme


@pytest.mark.long
def test_a_thousand_steps_are_drawn_in_two_seconds_and_updated_in_a_tenth(crew: Team, window: Windows) -> None:
    layers = "".join(
        f"  - parallel: [{', '.join(f'{{id: s{layer}-{at}, agent: many, task: echo}}' for at in range(20))}]\n"
        for layer in range(50)
    )
    holds = "".join(
        f'  - {{id: {name}, agent: hand, task: hold, with: {{until: "${{{{ inputs.{name} }}}}"}}}}\n'
        for name in ("first", "second")
    )
    files = {"first": crew.new_file(), "second": crew.new_file()}
    run = crew.submit(
        f"inputs: {{first: {{type: string}}, second: {{type: string}}}}\nsteps:\n{holds}{layers}",
        {name: str(file) for name, file in files.items()},
    )
    crew.wait_for_start(run, "first")
    made = window(viewport={"width": 1400, "height": 1000})
    page = made.open_run(run.id)
    assert page.locator("#graph .unit").count() == 1002
    drawn_ms = page.evaluate(
        "(({startTime, duration}) => startTime + duration)(performance.getEntriesByName('run-draw')[0])"
    )
    expect(page.locator("#live")).to_have_text("yes")
    updates = "performance.getEntriesByName('run-update').map((one) => one.duration)"
    # What the main thread does for an update, painting included, in processor time: others work on this machine too.
    clock = made.context.new_cdp_session(page)
    clock.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy_ms() -> float:
        metrics = clock.send("Performance.getMetrics")["metrics"]
        return 1000 * float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    wait_until(lambda: page.evaluate(updates), what="the look when the stream opened", timeout_s=10)
    spent, count = busy_ms(), len(page.evaluate(updates))
    files["first"].touch()
    runs = "document.querySelector('[data-unit=second]').matches('.running')"
    wait_until(lambda: page.evaluate(runs), what="the colour of the second", timeout_s=10, every_s=0.25)
    update_ms = (busy_ms() - spent) / (len(page.evaluate(updates)) - count)
    files["second"].touch()
    expect(page.locator("#status")).to_have_text("succeeded", timeout=30_000)
    assert page.locator("#graph .unit.succeeded").count() == 1002
    rush_ms = max(page.evaluate(updates))
    print(f"drawn after {drawn_ms:.0f} ms; an update takes {update_ms:.0f} ms, the script of hundreds {rush_ms:.0f} ms")
    assert drawn_ms < 2000
    assert update_ms < 100
    assert rush_ms < 100
    assert page.locator("#timeline a").count() < 100
