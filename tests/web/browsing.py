"""Chromium on the pages of a real Flower: one browser for all tests, one window for each."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Route, sync_playwright

from tests.acceptance.team import Team
from tests.waiting import wait_until

AXE = "axe-core@4"
WCAG_AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@contextmanager
def entered(crew: Team, browser: Browser) -> Iterator[tuple[str, Any]]:
    """A Flower whose link was used: its address, and the cookies of whoever used it."""
    with flower(crew) as link:
        window = Window(browser, link)
        window.page.goto(link)
        yield window.origin, window.context.storage_state()
        window.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of the system."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.fail("these tests need Chromium: apt-get install chromium, or brew install --cask chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def install_axe(folder: Path) -> str:
    """The text of axe-core, freshly installed from npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("these tests need npm: apt-get install nodejs npm, or brew install node")
    words = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), AXE]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, f"npm install {AXE}: {done.stderr}"
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


@contextmanager
def flower(team: Team, *words: str) -> Iterator[str]:
    """`orchestrator flower` of a team, for the time of a `with`; the link that it printed."""
    command = [sys.executable, "-m", "orchestrator", "flower", "--port", "0", *words]
    with (team.folder / "flower.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=team.folder, env=team.environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout
        link = process.stdout.readline().strip()
        assert re.fullmatch(r"http://\S+", link), (team.folder / "flower.log").read_text()
        wait_until(partial(_answers, urlsplit(link).port), what="Flower", timeout_s=30)
        yield link
    finally:
        process.terminate()
        process.communicate(timeout=15)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Window:
    """One window, logged in. It keeps what the browser complains about, and answers nothing of another host."""

    def __init__(self, browser: Browser, site: str, state: Any = None, **options: Any) -> None:
        parts = urlsplit(site)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.context: BrowserContext = browser.new_context(storage_state=state, **options)
        self.context.route(lambda address: not address.startswith(self.origin), self._refuse)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.page.on("request", self._note)

    def open(self, path: str) -> Page:
        """Load a page and wait until it is drawn, if it is one that draws."""
        self.page.goto(self.origin + path)
        return self.page

    def open_run(self, run_id: str) -> Page:
        """The page of a run, as soon as its graph can be seen."""
        page = self.open(f"/workflows/{run_id}")
        # Not by `wait_for_function`, which the policy of the page refuses.
        drawn = "performance.getEntriesByName('run-draw').length"
        wait_until(lambda: page.evaluate(drawn), what="the graph", timeout_s=20)
        return page

    def violations(self, axe: str) -> list[str]:
        """What breaks WCAG 2.2 AA on the page as it is now, one line each."""
        # Not as a script of the page, which its policy refuses: in the world of the debugger.
        self.page.evaluate(axe)
        found = self.page.evaluate("(tags) => axe.run(document, {runOnly: {type: 'tag', values: tags}})", WCAG_AA)[
            "violations"
        ]
        return [f"{one['id']}: {json.dumps([node['html'][:200] for node in one['nodes'][:3]])}" for one in found]

    def close(self) -> None:
        self.context.close()

    def _refuse(self, route: Route) -> None:
        route.abort()

    def _note(self, request: Request) -> None:
        self.requests.append(request.url)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)
