"""Following a run: a tree that moves on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from typing import Protocol

from rich.console import Console
from rich.text import Text

from orchestrator import events
from orchestrator.cli.drawing import HEADER_LINES, Pen, Picture, body, header
from orchestrator.cli.output import console, say, shows_unicode
from orchestrator.cli.progress import Progress
from orchestrator.cli.reading_on import say_away
from orchestrator.cli.sentences import Sentences
from orchestrator.cli.terminal import Frame, suspendable, unseen
from orchestrator.cli.text import clock, visible
from orchestrator.cli.tree import Tree
from orchestrator.durations import duration
from orchestrator.records import Event, StepRecord
from orchestrator.workflow.plan import Plan

LINES_BELOW = 1  # of the terminal, for the cursor
REST_SHARE = 10  # a picture that takes long is drawn again after so many times that long
PROGRESS_EVERY_MS = 1000  # a step's progress is worth one plain line in so long
ASKED_AT_ONCE = 100  # records of steps that wait


class View(Protocol):
    """Something that shows a run while it goes on."""

    def __enter__(self) -> View: ...

    def __exit__(self, *_: object) -> None: ...

    def take(self, event: Event) -> None: ...

    def unknown(self) -> list[str]: ...

    def learn(self, records: Iterable[StepRecord]) -> None: ...

    def look_at(self, served: Collection[str]) -> None: ...

    def away(self, reason: str | None) -> None: ...


class LogRelay:
    """Lets the workers' log pass above the tree, which their writing to the terminal would tear.

    Made before the workers are forked; they write to `writer`.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()

    def start(self) -> None:
        """In the parent, after the fork."""
        os.close(self.writer)
        threading.Thread(target=self._pass_on, name="log", daemon=True).start()

    def _pass_on(self) -> None:
        with os.fdopen(self._reader, errors="replace") as lines:
            for line in lines:
                console(stderr=True).print(Text(visible(line.rstrip("\n"))), soft_wrap=True)


class LineView:
    """`12:00:01 step outline started (planner.plan)`, on standard error."""

    def __init__(self, plan: Plan, run_id: str) -> None:
        self._sentences = Sentences(plan)
        self._run_id = run_id
        self._told: dict[str | None, int] = {}

    def __enter__(self) -> LineView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def take(self, event: Event) -> None:
        if event.name == events.STEP_PROGRESS:
            if event.at - self._told.get(event.step, 0) < PROGRESS_EVERY_MS:
                return
            self._told[event.step] = event.at
        for sentence in self._sentences.tell(event):
            say(f"{clock(event.at)} {sentence}")
        signal = event.name == events.STEP_WAITING and event.data  # it says what for: not a time, but a signal
        if signal:
            say(f"         `orchestrator approve {self._run_id} {event.step}` lets it go on, `reject` fails it")

    def unknown(self) -> list[str]:
        return []

    def learn(self, records: Iterable[StepRecord]) -> None:
        pass

    def look_at(self, served: Collection[str]) -> None:
        pass

    def away(self, reason: str | None) -> None:
        say_away(reason)


class TreeView:
    """The tree of the run's steps, which stays when the run is over.

    Args:
        kept: records of the run's steps, for those that it has taken over from an earlier run.
        skew_ms: how far the server's clock is ahead of this one's.
    """

    def __init__(
        self, plan: Plan, run_id: str, screen: Console, kept: Iterable[StepRecord] = (), *, skew_ms: int = 0
    ) -> None:
        self._about = (plan.name, f"run {run_id}")
        self._progress = Progress(plan, kept)
        self._tree = Tree(plan, run_id)
        self._screen = screen
        self._skew_ms = skew_ms
        self._served: frozenset[str] | None = None
        self._away = ""
        self._pen = Pen(unicode=shows_unicode(screen.stderr))
        self._lock = threading.RLock()  # a thread draws
        self._kept: tuple[Picture, float] | None = None
        self._terminal, self._hidden = ExitStack(), ExitStack()
        self._frame = Frame(screen, self.draw)

    def __enter__(self) -> TreeView:
        self._terminal.enter_context(suspendable(self._stop, self._start))
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._terminal.close()

    def take(self, event: Event) -> None:
        with self._lock:
            self._progress.take(event)

    def unknown(self) -> list[str]:
        """Ids, as the store has them, of steps of which more is to be shown than their events tell."""
        with self._lock:
            return self._progress.unknown(ASKED_AT_ONCE)

    def learn(self, records: Iterable[StepRecord]) -> None:
        """What is in their records."""
        with self._lock:
            self._progress.learn(records)

    def look_at(self, served: Collection[str]) -> None:
        """Which agents a worker serves now."""
        self._served = frozenset(served)

    def away(self, reason: str | None) -> None:
        """Why the server does not answer; None: it does."""
        now = clock(int(time.time() * 1000))
        self._away = f"no answer of the server since {now}, trying again - {reason}" if reason else ""

    def draw(self) -> Picture:
        """The picture of this moment. One that took long stays for a while, unless it is the last."""
        began = time.monotonic()
        if self._kept and began < self._kept[1] and self._pen.spins:
            return self._kept[0]
        with self._lock:
            picture = self._picture(int(time.time() * 1000) + self._skew_ms)
        took = time.monotonic() - began
        self._kept = picture, began + took * REST_SHARE
        return picture

    def _picture(self, now: int) -> Picture:
        progress, (width, height) = self._progress, self._screen.size
        room = max(1, height - HEADER_LINES - LINES_BELOW)
        lines, counts = self._tree.lines(progress, room, now, self._served)
        elapsed = duration((progress.finished_at or now) - (progress.started_at or now))
        words = [*self._about, progress.state.value, elapsed, progress.remark]
        if self._away:
            words = [self._about[0], self._away]  # there is no room for both
        top = header(words, progress.state, counts, now, width, height, self._pen)
        return Picture([*top, *body(lines, now, width, self._pen)])

    def _start(self) -> None:
        self._hidden.enter_context(unseen())
        self._pen.spins = True
        self._frame.start()

    def _stop(self) -> None:
        self._pen.spins = False
        self._frame.stop()
        self._hidden.close()
