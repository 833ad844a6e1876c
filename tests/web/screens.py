"""Takes the pictures of the run's page in docs/screens/: `python -m tests.web.screens docs/screens`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Browser, Page, expect

from orchestrator import RunHandle, StepState
from tests.acceptance.team import Team, team
from tests.web.browsing import Window, chromium, flower

WIDE, SMALL = {"width": 1360, "height": 1000}, {"width": 1100, "height": 760}
NARROW = {"width": 390, "height": 844}
REPORT = """
name: tea-report
version: "3"
inputs:
  topic: {type: string, default: How tea came to Europe}
steps:
  - {id: outline, agent: hand, task: echo, with: {value: {topic: "${{ inputs.topic }}", chapters: 12}}}
  - {id: research, foreach: "${{ lists.range(12) }}", agent: many, task: linger}
  - {id: images, needs: [outline], when: "${{ size(inputs.topic) > 80 }}", agent: hand, task: echo}
  - parallel:
      - {id: check-facts, agent: hand, task: flaky, with: {times: 1}, retry: {max_attempts: 3, delay: 300ms}}
      - steps:
          - {id: write, agent: many, task: linger}
          - {id: edit, agent: many, task: linger}
      - {id: translate-everything-into-seven-languages, agent: many, task: linger}
  - id: polish
    loop: {until: "${{ round.index >= 1 }}", max_iterations: 3}
    steps:
      - {id: rewrite, agent: many, task: linger}
      - {id: score, agent: many, task: linger}
  - id: route
    switch:
      - {when: "${{ size(inputs.topic) > 80 }}", steps: [{id: publish-at-once, set: {ok: true}}]}
      - {default: true, steps: [{id: sign, wait: {signal: approval, timeout: 24h}}]}
  - {id: publish, agent: hand, task: echo, with: {value: {url: "https://example.com/tea"}}}
outputs: {url: "${{ steps.publish.output.url }}"}
on_failure: [{id: alert, agent: hand, task: linger}]
finally: [{id: clean-up, agent: hand, task: linger}]
"""
FAILS = """
name: order
inputs:
  order: {type: string, default: A-1207}
steps:
  - {id: reserve, agent: hand, task: echo, with: {value: 3}, compensate: {agent: many, task: linger}}
  - {id: charge, agent: hand, task: fail, retry: {max_attempts: 2, delay: 400ms}, with: {message: card declined}}
  - {id: ship, agent: hand, task: echo}
on_failure: [{id: alert, agent: many, task: linger}]
"""


def main(folder: Path) -> None:
    """Start a team and a Flower, run workflows, take the pictures."""
    with TemporaryDirectory() as made, team(Path(made)) as crew:
        crew.start_worker("hand")
        crew.start_worker("many", pool="threads")
        with chromium() as browser, flower(crew) as link:
            first = Window(browser, link)
            first.page.goto(link)
            for name, run, options in _wanted(crew):
                _take(folder / f"{name}.png", browser, first, run, options)


def _wanted(crew: Team) -> list[tuple[str, RunHandle, dict[str, Any]]]:
    waits = _submit(crew, REPORT)
    crew.wait_for_state(waits, "sign", StepState.WAITING)
    failed = _submit(crew, FAILS)
    failed.wait(30)
    layers = "".join(
        f"  - parallel: [{', '.join(f'{{id: s{layer}-{at}, agent: many, task: echo}}' for at in range(20))}]\n"
        for layer in range(50)
    )
    large = _submit(crew, "name: thousand\nsteps:\n" + layers)
    large.wait(60)
    return [
        ("run-light", waits, {"viewport": WIDE, "color_scheme": "light"}),
        ("run-dark", waits, {"viewport": WIDE, "color_scheme": "dark"}),
        ("run-narrow", waits, {"viewport": NARROW, "color_scheme": "light"}),
        ("run-failed", failed, {"viewport": WIDE, "color_scheme": "light"}),
        ("run-step", waits, {"viewport": SMALL, "color_scheme": "dark", "open": "check-facts"}),
        ("run-1000-steps", large, {"viewport": WIDE, "color_scheme": "light"}),
    ]


def _submit(crew: Team, text: str) -> RunHandle:
    file = crew.new_file()
    file.write_text(text)
    return crew.client.submit(file)


def _take(file: Path, browser: Browser, first: Window, run: RunHandle, options: dict[str, Any]) -> None:
    step = options.pop("open", None)
    window = Window(browser, first.origin, first.context.storage_state(), **options)
    page: Page = window.open_run(run.id)
    if step:
        page.locator("#rows a", has_text=step).click()
        expect(page.locator("#step dl")).to_be_visible()
    page.screenshot(path=file)
    window.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
