"""Takes the pictures in docs/screens/, of every page: `python -m tests.web.screens docs/screens`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Browser, expect

from orchestrator import RunHandle
from tests.acceptance.team import Team
from tests.waiting import wait_until
from tests.web.browsing import Window, chromium, flower
from tests.web.scenes import Scenes, studio

WIDE, SMALL = {"width": 1280, "height": 720}, {"width": 1100, "height": 640}
TALL = {"width": 1280, "height": 1000}  # of the page of a run
NARROW = {"width": 390, "height": 844}
LIGHT: dict[str, Any] = {"viewport": WIDE, "color_scheme": "light"}
DARK: dict[str, Any] = {"viewport": WIDE, "color_scheme": "dark"}
SLIM: dict[str, Any] = {"viewport": NARROW, "color_scheme": "light"}
LOOKS = {"-light": LIGHT, "-dark": DARK, "-narrow": SLIM}


def main(folder: Path) -> None:
    """Start a team and a Flower, fill them, take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as made, studio(Path(made)) as crew, chromium() as browser, flower(crew) as link:
        window = Window(browser, link)
        window.page.goto(link)
        camera = Camera(folder, browser, link, window.context.storage_state())
        for name in ("", "/messages", "/handoffs"):
            camera.take(f"empty{name.replace('/', '-') or '-runs'}", f"/workflows{name}", LIGHT)
        scenes = Scenes(crew)
        for name, path in scenes.pages.items():
            for suffix, look in LOOKS.items():
                tall = {"viewport": TALL} if name.startswith("run") and look is not SLIM else {}
                camera.take(name + suffix, path, look | tall)
        camera.take("run-step", f"{scenes.pages['run']}#step=check-facts", DARK | {"viewport": SMALL})
        camera.take("run-1000-steps", f"/workflows/{_thousand(crew).id}", LIGHT | {"viewport": TALL})
        task = f"/task/{scenes.waits.id}:score"
        wait_until(lambda: window.page.request.get(window.origin + task).ok, what="Flower's task", timeout_s=20)
        for name, path in (("workers", "/workers"), ("tasks", "/tasks"), ("task", task)):
            camera.take(f"flower-{name}", path, LIGHT | {"viewport": SMALL})


class Camera:
    """Takes pictures of pages, each in a window of its own."""

    def __init__(self, folder: Path, browser: Browser, link: str, session: Any) -> None:
        self._folder, self._browser, self._link, self._session = folder, browser, link, session

    def take(self, name: str, path: str, look: dict[str, Any]) -> None:
        window = Window(self._browser, self._link, self._session, **look)
        page = window.open(path)
        if name.startswith("run-"):
            expect(page.locator("#graph svg")).to_be_visible()
        if "#step=" in path:
            expect(page.locator("#step dl")).to_be_visible()
        page.wait_for_load_state("networkidle" if name.startswith("flower") else "load")
        # No more than there is on the page, and no more than the window shows of it.
        end = page.evaluate("Math.ceil(document.body.getBoundingClientRect().bottom)")
        size = look["viewport"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(end, size["height"])}
        page.screenshot(path=self._folder / f"{name}.png", clip=clip)
        window.close()


def _thousand(crew: Team) -> RunHandle:
    layers = "".join(
        f"  - parallel: [{', '.join(f'{{id: s{layer}-{at}, agent: researcher, task: glance}}' for at in range(20))}]\n"
        for layer in range(50)
    )
    file = crew.folder / "thousand.yaml"
    file.write_text("name: thousand\nsteps:\n" + layers)
    run = crew.client.submit(file)
    run.wait(60)
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]))
