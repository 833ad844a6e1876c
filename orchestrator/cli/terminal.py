"""A terminal that is drawn on: whether there is one, what is typed meanwhile, and how to leave it as it was."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.segment import ControlType, Segment

from orchestrator.cli.drawing import Picture

FRAMES_PER_S = 5


def measure(screen: Console) -> None:
    """Take the size that the terminal has now. COLUMNS and LINES tell that of some time ago."""
    try:
        size = os.get_terminal_size(screen.file.fileno())
    except OSError:  # it is none
        return
    if size.columns and size.lines:  # some serial lines and pseudo terminals do not know
        screen.size = size


class Frame(Live):
    """A picture that is drawn anew a few times a second, below what is printed, and stays at the end.

    Rich goes up as many lines as it has drawn. When the terminal has become narrower since, these are more.
    """

    def __init__(self, screen: Console, draw: Callable[[], Picture]) -> None:
        self._draw = draw
        self._next = self._drawn = Picture(())
        super().__init__(
            console=screen, get_renderable=self._picture, refresh_per_second=FRAMES_PER_S, vertical_overflow="crop"
        )

    def start(self, refresh: bool = False) -> None:
        self._drawn = Picture(())
        super().start(refresh)

    def _picture(self) -> RenderableType:
        measure(self.console)
        self._next = self._draw()
        return self._next

    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        _, *rest = super().process_renderables(renderables)
        back = _Back(self._drawn)
        self._drawn = self._next
        return [back, *rest]


class _Back:
    """The way back to the beginning of a picture, from its end. Its lines are wiped out.

    One by one: where a whole screen is wiped out at once, some terminals keep what was on it as history.
    """

    def __init__(self, drawn: Picture) -> None:
        self._drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = sum(max(1, ceil(line.cell_len / console.width)) for line in self._drawn.lines)
        lines = min(lines, console.height)
        yield Segment("\r\x1b[2K" + "\x1b[1A\x1b[2K" * (lines - 1), None, [(ControlType.ERASE_IN_LINE, 2)])


@contextmanager
def unseen(keys: bool = False) -> Iterator[None]:
    """What is typed is not shown, where it would tear what is drawn. Ctrl-C and Ctrl-Z work.

    Args:
        keys: each key can be read as it is pressed.
    """
    try:
        before = termios.tcgetattr(0) if os.tcgetpgrp(0) == os.getpgrp() else None
    except OSError:  # not a terminal, or not the one of this session
        before = None
    if before is None:  # in the background a change would stop the process
        yield
        return
    quiet = list(before)
    quiet[3] &= ~(termios.ECHO | (termios.ICANON if keys else 0))
    termios.tcsetattr(0, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def suspendable(stop: Callable[[], None], start: Callable[[], None]) -> Iterator[None]:
    """Ctrl-Z gives the terminal back first, and takes it again when the process goes on. For the main thread."""

    def suspend(number: int, frame: object) -> None:
        stop()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # it returns when the process goes on
        signal.signal(signal.SIGTSTP, suspend)
        start()

    before = signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)
