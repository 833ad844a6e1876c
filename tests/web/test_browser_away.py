"""The page of a run while the store or Flower is away, and when it is back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from orchestrator import RunHandle
from orchestrator.store import embedded
from tests.acceptance.team import Team, team
from tests.web.browsing import Window, flower

pytestmark = pytest.mark.long

WAITS = "steps: [{id: ask, wait: {signal: go}}, {id: then, wait: {signal: stop}}]"
BACK_MS = 20_000  # the next try comes later after each refusal


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Team]:
    """A team whose server others do not need. No worker is: its runs only wait."""
    with team(tmp_path, deadline_s=1.0) as made:
        yield made


@contextmanager
def store_stopped(crew: Team) -> Iterator[None]:
    server = embedded.status(crew.home).pid
    assert server
    os.kill(server, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server, signal.SIGCONT)


def see(page: Page, hidden: bool) -> None:
    """The window is left, or looked at again, which is when the page begins to listen anew."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def live_page(window: Window, run: RunHandle) -> Page:
    page = window.open_run(run.id)
    expect(page.locator("#live")).to_have_text("yes")
    return page


def test_the_page_goes_on_by_itself_when_the_store_is_back(alone: Team, browser: Browser) -> None:
    run = alone.submit(WAITS)
    with flower(alone) as link:
        window = Window(browser, link)
        window.page.goto(link)
        page = live_page(window, run)
        see(page, hidden=True)
        with store_stopped(alone):
            see(page, hidden=False)
            expect(page.locator("#live")).to_have_text("no: the store does not answer; trying again", timeout=BACK_MS)
        run.signal("go")
        expect(page.locator("#live")).to_have_text("yes", timeout=BACK_MS)
        expect(page.locator("#graph [data-unit=ask] .state")).to_contain_text("succeeded")
        assert all(text.startswith("Failed to load resource") for text in window.complaints)
        window.close()


def test_the_list_of_runs_says_when_it_is_not_fresh(alone: Team, browser: Browser) -> None:
    run = alone.submit(WAITS)
    with flower(alone) as link:
        window = Window(browser, link)
        window.page.goto(link)
        page = window.open("/workflows")
        with store_stopped(alone):
            expect(page.locator("#stale")).to_have_text(
                "These rows are not fresh: the store does not answer.", timeout=BACK_MS
            )
        run.pause()
        expect(page.locator("[data-cell=status]")).to_have_text("paused", timeout=BACK_MS)
        expect(page.locator("#stale")).to_be_hidden()
        window.close()


def test_the_page_says_that_the_session_has_ended_and_goes_on_with_the_next_link(alone: Team, browser: Browser) -> None:
    run = alone.submit(WAITS)
    with flower(alone) as link:
        window = Window(browser, link)
        window.page.goto(link)
        page = live_page(window, run)
    with flower(alone, "--port", str(urlsplit(link).port)) as link:
        expect(page.locator("#live")).to_contain_text("open Flower's link again", timeout=BACK_MS)
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#told")).to_contain_text("open Flower's link again")
        window.context.new_page().goto(link)
        expect(page.locator("#live")).to_have_text("yes", timeout=BACK_MS)
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#status")).to_have_text("paused")
        window.close()
