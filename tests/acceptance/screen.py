"""A terminal with a command in it: tmux is the terminal, so what is seen is what a person would see."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from tests.acceptance.project import Project
from tests.waiting import wait_until

PROMPT = "ready> "


class Screen:
    """One window of a tmux server that nobody else uses, with a shell in the folder of a project."""

    def __init__(self, project: Project, *, width: int = 100, height: int = 30, **environment: str) -> None:
        program = shutil.which("tmux")
        assert program, "the tests need tmux"
        self._program = program
        start = project.folder / "orchestrator"  # a short word, so that what is typed is short, too
        start.write_text(f'#!/bin/sh\nexec {shlex.join(project.command([]))} "$@"\n')
        start.chmod(0o700)
        self._socket = f"screen-{uuid4().hex[:12]}"
        shell = ["env", *(f"{name}={text}" for name, text in (project.environment | environment).items())]
        shell += [f"PS1={PROMPT}", "sh", "-i"]
        size = ["-x", str(width), "-y", str(height)]
        self._tmux("new-session", "-d", *size, "-c", str(project.folder), "--", shlex.join(shell))
        self.wait_for(PROMPT.strip())

    def start(self, *words: str) -> None:
        """Type an orchestrator command and Enter."""
        self.type(shlex.join(["./orchestrator", *words]))

    def type(self, line: str) -> None:
        self._tmux("send-keys", "-l", line)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """`Enter`, `C-c`, `q`."""
        self._tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def lines(self, *, escapes: bool = False, history: bool = False) -> list[str]:
        """What is on the screen, and with `history` what has left it; with the sequences for colours, if wanted."""
        options = (["-e"] if escapes else []) + (["-S", "-"] if history else [])
        text = self._tmux("capture-pane", "-p", *options)
        return [line.rstrip() for line in text.rstrip("\n").split("\n")]

    @property
    def text(self) -> str:
        return "\n".join(self.lines())

    @property
    def cursor_is_shown(self) -> bool:
        return self._tmux("display-message", "-p", "#{cursor_flag}").strip() == "1"

    @property
    def is_alternate(self) -> bool:
        """Whether a full-screen program has the terminal."""
        return self._tmux("display-message", "-p", "#{alternate_on}").strip() == "1"

    def wait_for(self, *parts: str, timeout_s: float = 30) -> list[str]:
        """Wait until all of these are on the screen at once. Returns its lines then."""
        return self.wait_until(lambda text: all(part in text for part in parts), what=str(parts), timeout_s=timeout_s)

    def wait_until(self, true: Callable[[str], bool], *, what: str, timeout_s: float = 30) -> list[str]:
        seen: list[str] = []

        def looks() -> bool:
            seen[:] = self.lines()
            return true("\n".join(seen))

        try:
            wait_until(looks, what=f"{what} on the screen", timeout_s=timeout_s, every_s=0.05)
        except AssertionError as late:
            raise AssertionError("\n".join([str(late), *seen])) from None
        return seen

    def wait_for_prompt(self, timeout_s: float = 30) -> list[str]:
        """Wait until the command is over, and the shell waits for the next."""
        found = self.wait_until(
            lambda text: text.split("\n")[-1].strip() == PROMPT.strip(), what="a prompt", timeout_s=timeout_s
        )
        assert self.cursor_is_shown
        return found

    def close(self) -> None:
        # In one call: the server has to say where its socket is before it ends and leaves the file behind.
        end = [self._program, "-L", self._socket, "display-message", "-p", "#{socket_path}", ";", "kill-server"]
        said = subprocess.run(end, capture_output=True, text=True, timeout=10)
        if said.returncode == 0:
            Path(said.stdout.strip()).unlink(missing_ok=True)

    def _tmux(self, *words: str) -> str:
        command = [self._program, "-u", "-L", self._socket, "-f", "/dev/null", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout
