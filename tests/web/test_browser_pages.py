"""Every page of ours in Chromium, with real runs, messages and handoffs on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from orchestrator import StepState
from tests.acceptance.team import Team
from tests.waiting import wait_until
from tests.web.browsing import Window, entered, flower
from tests.web.scenes import Scenes, studio
from tests.web.studio import HOSTILE, LONG

pytestmark = pytest.mark.long

NARROW = {"width": 390, "height": 844}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"}, "narrow": {"viewport": NARROW},
}  # fmt: skip
#: Pages on which what somebody wrote is shown, and how often at least.
WRITTEN = {"runs": 1, "run-evil": 2, "agents": 1, "messages": 3, "message": 1, "message-dead": 3, "thread": 2,
           "dead-letters": 1, "handoff": 1, "handoff-declined": 1}  # fmt: skip
Windows = Callable[..., Window]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with studio(tmp_path_factory.mktemp("studio")) as made:
        yield made


@pytest.fixture(scope="module")
def opened(house: Team, browser: Browser) -> Iterator[tuple[str, Any]]:
    """As in conftest.py, of this house. It hears of tasks from the first one on."""
    with entered(house, browser) as made:
        yield made


@pytest.fixture(scope="module")
def scenes(house: Team, opened: tuple[str, Any]) -> Scenes:
    return Scenes(house)


@pytest.mark.parametrize("look", LOOKS)
def test_nothing_breaks_wcag_aa_on_any_page(scenes: Scenes, window: Windows, axe: str, look: str) -> None:
    made = window(**LOOKS[look])
    for name, path in scenes.pages.items():
        made.open(path)
        assert made.violations(axe) == [], name
    assert all("404" in text for text in made.complaints), "of the page of an error"
    made.complaints.clear()


def test_no_page_is_wider_than_its_window(scenes: Scenes, window: Windows) -> None:
    for viewport in (NARROW, {"width": 1024, "height": 768}):
        made = window(viewport=viewport)
        for name, path in scenes.pages.items():
            page = made.open(path)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= viewport["width"], f"{name} at {viewport['width']}"
        made.complaints.clear()


def test_names_and_texts_that_look_like_html_are_shown_as_text(scenes: Scenes, window: Windows) -> None:
    made = window()
    dialogs: list[str] = []
    made.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    for name, least in WRITTEN.items():
        page = made.open(scenes.pages[name])
        shown = page.locator("main").inner_text()
        assert shown.count(HOSTILE) >= least, f"{name}: {shown}"
        assert page.locator("main script:not([type='application/json']):not([src]), main img").count() == 0, name
    assert dialogs == []


def test_a_child_run_is_reached_from_the_graph_the_table_and_its_step(scenes: Scenes, window: Windows) -> None:
    made = window()
    child = scenes.waits.document()["steps"]["print"]["output"]
    assert child is not None
    for find in (
        lambda page: page.get_by_role("link", name="The run of print"),
        lambda page: page.locator("#rows").get_by_role("link", name="its run"),
        lambda page: page.locator("#step").get_by_role("link", name=re.compile("^The run ")),
    ):
        page = made.open_run(scenes.waits.id)
        page.locator("#rows a", has_text="print").first.click()
        expect(page.locator("#step dl")).to_be_visible()
        find(page).dispatch_event("click")
        expect(page.locator("h1")).to_contain_text("printing")
        expect(page.locator("#remarks")).to_contain_text(f"Child of step print of run {scenes.waits.id}")


def test_edges_through_boxes_of_one_step_are_straight_and_what_goes_on_can_be_seen(
    scenes: Scenes, window: Windows
) -> None:
    page = window(viewport={"width": 1360, "height": 1000}).open_run(scenes.waits.id)
    expect(page.locator("#graph [data-unit=sign]")).to_be_in_viewport()
    axes = []
    for name in ("rewrite", "score", "print", "publish", "clean-up"):
        found = page.locator(f'#graph [data-unit="{name}"] .face').bounding_box()
        assert found is not None
        axes.append(round(found["y"] + found["height"] / 2))
    assert len(set(axes)) == 1, axes
    expect(page.locator("#graph [data-unit=route] .box-title").first).to_contain_text("route — ✓ decided")


def test_a_chain_of_a_thousand_steps_opens_at_the_one_that_waits(house: Team, window: Windows) -> None:
    before, after = (
        "".join(f"  - {{id: {name}{n}, set: {{n: {n}}}}}\n" for n in range(count))
        for name, count in (("s", 700), ("t", 300))
    )
    run = house.submit(f"steps:\n{before}  - {{id: ask, wait: {{signal: go}}}}\n{after}")
    house.wait_for_state(run, "ask", StepState.WAITING)
    page = window(viewport={"width": 1360, "height": 1000}).open_run(run.id)
    ask = page.locator("#graph [data-unit=ask]")
    expect(ask).to_be_in_viewport()
    page.locator("#graph").evaluate("(graph) => graph.scrollTo(0, 0)")
    expect(ask).not_to_be_in_viewport()
    page.get_by_role("button", name="Show what is going on").click()
    expect(ask).to_be_in_viewport()


def test_agents_are_shown_with_presence_queues_capabilities_and_throughput(
    scenes: Scenes, house: Team, window: Windows
) -> None:
    house.run("steps: [{id: look, agent: researcher, task: check, with: {unreachable: 0}}]")
    page = window().open(scenes.pages["agents"])
    away = page.locator("#agent-printer")
    expect(away.locator(".badge").first).to_have_text("offline")
    depths = {label: away.locator(f'td[data-label="{label}"]').inner_text() for label in ("Emergency", "High", "Low")}
    assert depths == {"Emergency": "1", "High": "3", "Low": "4"}, "messages, and an offer of high priority"
    expect(page.locator(f"#agent-{LONG} .badge").first).to_have_text("online")
    done = page.locator('#agent-researcher td[data-label="Steps/min"]')
    wait_until(lambda: page.reload() and int(done.inner_text()) >= 1, what="Flower to hear of the steps", timeout_s=20)
    page.get_by_role("link", name="reading").click()
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_dead_letter_is_replayed_by_its_button_but_not_in_a_read_only_flower(
    scenes: Scenes, house: Team, window: Windows, browser: Browser
) -> None:
    with flower(house, "--read-only") as link:
        viewer = Window(browser, link)
        viewer.page.goto(link)
        for name in ("dead-letters", "message-dead"):
            viewer.open(scenes.pages[name])
            expect(viewer.page.locator("main")).to_contain_text("no desk for")
            assert viewer.page.get_by_role("button", name="Replay").count() == 0
        viewer.close()
    letter = house.client.send("editor", "a poem for the button", sender="writer").message_id
    wait_until(lambda: house.client.message(letter).finished_at, what="the dead letter", timeout_s=20)
    page = window().open(scenes.pages["dead-letters"])
    page.locator("tr", has_text="a poem for the button").get_by_role("button", name="Replay").click()
    expect(page.locator("h1")).to_contain_text(f"Message {house.client.message(letter).replayed_as}")


def test_flowers_own_pages_name_the_steps_and_show_ids_and_never_what_they_are_given(
    scenes: Scenes, window: Windows
) -> None:
    made = window()
    run_id = scenes.waits.id
    page = made.page
    address = f"{made.origin}/task/{run_id}:outline"
    wait_until(lambda: page.request.get(address).ok, what="Flower to hear of the step", timeout_s=20, every_s=0.5)
    made.open("/tasks?name=planner.outline")
    expect(page.locator("#tasks-table tr", has_text="planner.outline")).to_contain_text(f"{run_id}:outline")
    page.goto(f"{made.origin}/task/{run_id}:score")
    facts = page.locator(".detail-list")
    expect(facts).to_contain_text("researcher.check")
    expect(facts).to_contain_text(f"('{run_id}', 'score')")
    expect(page.locator(".detail-page-header")).to_contain_text(f"Step score of run {run_id}")
    assert "unreachable" not in facts.inner_text()
    root = facts.locator(".detail-row", has=page.locator("dt", has_text="Root id")).locator("a")
    expect(root).to_contain_text(f"{run_id}:")
    root.click()
    expect(page.locator("#taskid")).to_have_text(re.compile(f"^{run_id}:"))
    page.get_by_role("link", name=f"run {run_id}").click()
    expect(page.locator("h1")).to_contain_text("tea-report")
