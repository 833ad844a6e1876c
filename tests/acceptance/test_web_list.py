"""The list of runs in a real browser: it keeps itself fresh, announces what is new, and stays within its policy."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.acceptance.browser import Browser
from tests.acceptance.project import Project
from tests.acceptance.test_cli_up import Up

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAITS = "name: waits\nsteps:\n  - {id: a, wait: {signal: go}}\n  - {id: b, wait: {signal: stop}}\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    project = Project(tmp_path_factory.mktemp("list"))
    Path(project.folder, "waits.yaml").write_text(WAITS)
    started = Up(project)
    yield started
    project.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser has complained of."""
    return []


@pytest.fixture
def page(up: Up, complaints: list[str]) -> Iterator[Page]:
    """A window at the list of runs; at the end nothing was complained of, and nobody else was asked for anything."""
    if CHROMIUM is None:
        pytest.fail("this test needs a browser: apt-get install chromium")
    link = (up.project.folder / "state" / "flower.url").read_text().split()[0]
    site = Browser(link).origin
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = browser.new_page()
        made.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        made.on("pageerror", lambda error: complaints.append(str(error)))
        made.on("request", lambda request: asked.append(request.url))
        made.goto(link.replace("/?", "/workflows?"))
        yield made
        browser.close()
    assert complaints == []
    assert {url for url in asked if not url.startswith(site)} == set()


def submit(up: Up) -> str:
    return up.project.call("run", "waits.yaml", "--detach").stdout.strip()


@pytest.mark.long
def test_rows_follow_their_runs_and_new_runs_are_announced(up: Up, page: Page) -> None:
    run_id = submit(up)
    page.reload()
    row = page.locator(f"tr[data-run='{run_id}']")
    expect(row.locator("[data-cell=status]")).to_have_text("running")
    expect(row.locator("progress")).to_have_js_property("value", 0)

    up.project.call("approve", run_id, "a")
    expect(row.locator("progress")).to_have_js_property("value", 50, timeout=10_000)
    news = page.locator("#news")
    expect(news).to_be_hidden()
    new = submit(up)
    expect(news).to_be_visible(timeout=10_000)

    up.project.call("reject", run_id, "b", "--reason", "<b>not</b> today")
    badge = row.locator("[data-cell=status]")
    expect(badge).to_have_text("failed", timeout=10_000)
    expect(badge).to_have_class("badge failed")
    expect(row.locator("[data-cell=note]")).to_have_text("Rejected: <b>not</b> today")
    assert page.locator("td b").count() == 0
    news.get_by_role("link").click()
    expect(page.locator(f"tr[data-run='{new}']")).to_be_visible()


@pytest.mark.long
def test_the_policy_stops_what_is_put_into_a_page(page: Page, complaints: list[str]) -> None:
    stopped: Any = page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.broken = true";
          document.body.append(script);
        })"""
    )
    assert stopped.startswith("script-src")
    assert page.evaluate("window.broken") is None
    assert "Content Security Policy" in complaints.pop()


def test_a_filter_and_the_keyboard_are_enough(up: Up, page: Page) -> None:
    submit(up)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_label("Workflow", exact=True).fill("waits")
    page.get_by_label("Status").select_option("running")
    page.get_by_role("button", name="Show").press("Enter")
    page.wait_for_url(re.compile("status=running"))
    assert page.locator("tr[data-run]").count() >= 1
    page.get_by_role("link", name="Clear").click()
    expect(page.get_by_label("Workflow", exact=True)).to_have_value("")
