"""Following a run on a terminal: real runs, and tmux as the terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.cli.drawing import SPINNER
from tests.acceptance.project import Project
from tests.acceptance.screen import PROMPT, Screen
from tests.waiting import wait_until

AGENTS = """
import pathlib, time
from orchestrator import Agent, Context

hand = Agent("hand", concurrency=2)

@hand.task
def work(ctx: Context) -> dict:
    ctx.progress(0.25, "[red]1/4[/red] \\x1b 四分")
    gate = pathlib.Path(f"open.{ctx.step_id.partition('[')[0]}")
    while not gate.exists():
        time.sleep(0.02)
    return {}

@hand.task
def luck(ctx: Context) -> dict:
    if ctx.attempt < 3:
        raise ValueError("no luck")
    return {}

@hand.task
def quick() -> dict:
    return {}
"""
SHAPES = """
name: shapes
steps:
  - {id: first, agent: hand, task: work}
  - parallel:
      - {id: facts, agent: hand, task: work}
      - {id: flaky, agent: hand, task: luck, retry: {max_attempts: 3, delay: 2s, backoff: fixed}}
  - id: each
    foreach: [1, 2, 3, 4]
    max_parallel: 2
    agent: hand
    task: work
  - id: polish
    loop: {until: "${{ round.index == 1 }}", max_iterations: 3}
    steps: [{id: rewrite, agent: hand, task: quick}]
  - {id: sign, wait: {signal: approval}}
"""
FAN = "name: fan\nsteps:\n" + "".join(
    "  - parallel:\n"
    + "".join(f"      - {{id: s{group}-{at}, agent: hand, task: quick}}\n" for at in range(50))
    for group in range(20)
)
RED = re.compile(r"\x1b\[[0-9;]*31m")
CYAN = re.compile(r"\x1b\[[0-9;]*36m")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    made.agents.write_text(AGENTS)
    (tmp_path / "shapes.yaml").write_text(SHAPES)
    (tmp_path / "fan.yaml").write_text(FAN)
    (tmp_path / "pause.yaml").write_text("name: pause\nsteps: [{id: nap, wait: {for: 2s}}]\n")
    yield made
    made.close()


def open_gate(project: Project, step: str) -> None:
    (project.folder / f"open.{step}").touch()


def test_a_run_is_drawn_as_a_tree_that_moves_and_stays(project: Project, on_screen: Callable[..., Screen]) -> None:
    screen = on_screen(width=130)
    screen.start("run", "shapes.yaml")
    screen.wait_for("shapes - run", "25%, [red]1/4[/red] \\x1b 四分")
    assert CYAN.search("\n".join(screen.lines(escapes=True))), "colours"
    spinners = set(SPINNER) & set(screen.text)
    screen.wait_until(lambda text: bool(set(SPINNER) & set(text) - spinners), what="a spinner that turns")
    assert not screen.cursor_is_shown
    open_gate(project, "first")
    screen.wait_for("attempt 2 of 3, again in", "ValueError: no luck")
    screen.wait_for("├ ", "└ ", "facts")
    open_gate(project, "facts")
    shown = screen.wait_for("0 of 4 items", "[0]", "[1]", timeout_s=40)
    assert not any("[2]" in line for line in shown)
    open_gate(project, "each")
    shown = screen.wait_for("waits for the signal approval", "4 of 4 items", "round 2 of 3")
    assert not any("[0]" in line for line in shown), "items that are done are counted"
    [command] = [line for line in shown if "orchestrator approve" in line]
    run_id, step = command.split("approve ")[1].split()
    assert project.call("approve", run_id, step).returncode == 0
    shown = screen.wait_for_prompt()
    assert "shapes succeeded in" in shown[-2]
    assert any("succeeded" in line and run_id in line for line in shown)
    assert any("7 of 7 steps" in line for line in shown)
    assert not set(SPINNER) & set("".join(shown)), "nothing spins any more"
    assert sum("shapes - run" in line for line in screen.lines(history=True)) == 1, "one picture is left"


@pytest.mark.long
def test_events_of_a_run_are_followed_in_the_same_way(project: Project, on_screen: Callable[..., Screen]) -> None:
    screen = on_screen()
    run_id = project.json("run", "shapes.yaml", "--detach")["run_id"]
    screen.start("events", run_id, "--follow")
    screen.wait_for("first", "waits for a worker of agent hand")
    worker = project.start("worker", "hand", "--log-level", "warning")
    screen.wait_for("25%")
    screen.press("C-c")
    shown = screen.wait_for_prompt()
    assert f"run {run_id} is not cancelled:" in shown[-4]
    assert shown[-3:-1] == [
        f"  orchestrator events {run_id} --follow  follows it", f"  orchestrator cancel {run_id}  ends it",
    ]  # fmt: skip
    screen.start("events", run_id, "--follow")
    screen.wait_for(PROMPT, "25%")
    project.call("cancel", run_id)
    assert "shapes cancelled in" in "\n".join(screen.wait_for_prompt()[-3:])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0


def test_ctrl_c_leaves_a_clean_screen_and_says_how_to_go_on(project: Project, on_screen: Callable[..., Screen]) -> None:
    screen = on_screen()
    screen.start("run", "shapes.yaml")
    screen.wait_for("25%")
    screen.press("typed", "Enter", "Enter", "blind", "C-c")  # of it nothing is seen
    screen.wait_for("is not cancelled:", "orchestrator worker hand  goes on with it", "orchestrator cancel")
    shown = screen.wait_for_prompt()
    assert sum("shapes - run" in line for line in screen.lines(history=True)) == 1
    assert not set(SPINNER) & set("".join(shown))
    assert not re.search(r"typed|blind|\^C", "\n".join(screen.lines(history=True)))


@pytest.mark.long
def test_a_terminal_that_changes_its_size_shows_one_picture(project: Project, on_screen: Callable[..., Screen]) -> None:
    def is_one_picture(text: str) -> bool:
        return text.count("shapes - run") == 1 and text.count("first") == 1 and "25%" in text

    screen = on_screen(width=120, height=40)
    screen.start("run", "shapes.yaml")
    screen.wait_for("25%")
    for width, height in ((60, 40), (60, 8), (44, 14), (140, 30)):
        screen.resize(width, height)
        screen.wait_until(is_one_picture, what=f"one picture at {width}x{height}")
    screen.press("C-c")
    assert sum("shapes - run" in line for line in screen.wait_for_prompt()) == 1


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it(project: Project, on_screen: Callable[..., Screen]) -> None:
    screen = on_screen()
    run_id = project.json("run", "shapes.yaml", "--detach")["run_id"]
    screen.type("set -m")
    screen.start("events", run_id, "--follow")
    screen.wait_for("waits for a worker")
    screen.press("C-z")
    screen.wait_for_prompt()
    screen.type("echo typed")
    screen.wait_for("\ntyped")
    screen.type("fg")
    screen.wait_until(lambda text: text.count("waits for a worker") == 2, what="the picture, again below")
    assert not screen.cursor_is_shown
    screen.press("C-c")
    screen.wait_for_prompt()


@pytest.mark.long
def test_a_thousand_steps_fit_the_screen(project: Project, on_screen: Callable[..., Screen]) -> None:
    screen = on_screen(width=80, height=24)
    screen.start("run", "fan.yaml")
    shown = screen.wait_for_prompt(timeout_s=60)
    assert "fan succeeded in" in shown[-2]
    history = screen.lines(history=True)
    assert sum("fan - run" in line for line in history) == 1
    assert any("1000 of 1000 steps" in line for line in shown)
    assert any(line.startswith("✓ parallel") and line.endswith("50 of 50") for line in shown), "what is done is folded"
    assert len(history) < 30


def test_nothing_is_drawn_where_no_terminal_is(project: Project) -> None:
    for environment in ({}, {"FORCE_COLOR": "1"}):
        done = project.call("run", "pause.yaml", **environment)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout + done.stderr
        assert re.search(r"\d\d:\d\d:\d\d step nap waits for 2\.0 s", done.stderr)


@pytest.mark.long
@pytest.mark.parametrize(
    ("environment", "drawn", "coloured"),
    [({}, True, True), ({"NO_COLOR": "1"}, True, False), ({"TERM": "dumb"}, False, False)],
    ids=["terminal", "NO_COLOR", "TERM=dumb"],
)
def test_what_a_terminal_cannot_or_must_not_show_is_left_out(
    project: Project, environment: dict[str, str], drawn: bool, coloured: bool
) -> None:
    written = in_a_pty(project, ["run", "pause.yaml"], **environment)
    assert bool(re.search(r"\x1b\[[0-9;]*(3[1-6]|9[1-6])m", written)) == coloured
    assert ("\x1b[?25l" in written) == drawn
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h")
    assert "pause succeeded in" in written.rstrip("\r\n").split("\n")[-1]
    tail = written[written.rindex("succeeded in") :]
    assert "\x1b" not in tail, "no control sequence is left over"
    if not drawn:
        assert "step nap waits for" in written
        assert "\x1b" not in written


def in_a_pty(project: Project, words: list[str], **environment: str) -> str:
    """What a command writes to a terminal of 100 columns, byte for byte, until it ends."""
    near, far = pty.openpty()
    started = subprocess.Popen(
        project.command(words), cwd=project.folder, stdin=far, stdout=far, stderr=far, start_new_session=True,
        env=project.environment | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"} | environment,
    )  # fmt: skip
    os.close(far)
    found = b""
    try:
        while data := os.read(near, 65536):
            found += data
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(near)
    wait_until(lambda: started.poll() is not None, what="the command's end", timeout_s=20)
    return found.decode()
