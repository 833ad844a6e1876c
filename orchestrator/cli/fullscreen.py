"""The screen of `orchestrator top`: one thread looks at the server, the other draws and listens to the keys."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from contextlib import ExitStack

from rich.live import Live

from orchestrator.cli.dashboard import HISTORY, Scene, dashboard
from orchestrator.cli.drawing import Pen, Picture
from orchestrator.cli.output import console, shows_unicode
from orchestrator.cli.terminal import measure, suspendable, unseen
from orchestrator.errors import OrchestratorError
from orchestrator.metrics.pulse import Beat, Pulse, Rates

CLOCK_S = 1.0  # the longest between two pictures: the clock goes on, and the terminal may have another size
END_KEYS = (b"q", b"Q", b"\x04", b"")  # the last two: Ctrl-D, and a terminal that is gone
PIPED_LINES = 10_000  # a reader that is no terminal gets every row


def print_once(beat: Beat, server: str) -> None:
    """One picture, as wide as it needs to be."""
    screen = console()
    for line in dashboard(Scene(server, None, beat.at, beat), screen.width, PIPED_LINES, _pen()):
        print(line.plain.rstrip())


def _pen() -> Pen:
    return Pen(unicode=shows_unicode(False), spins=False)


class FullScreen:
    """What goes on, until `q` or Ctrl-C. A server that does not answer is asked again and again."""

    def __init__(self, pulse: Pulse, first: Beat, server: str, interval_s: float) -> None:
        self._pulse = pulse
        self._server = server
        self._interval_s = interval_s
        self._skew_ms = 0
        self._take(first)
        self._history: deque[Rates] = deque(maxlen=HISTORY)
        self._away: tuple[float, str] | None = None
        self._pen = _pen()
        self._screen = console()
        self._news, self._tell = os.pipe()
        self._terminal = ExitStack()
        self._live = Live(console=self._screen, screen=True, auto_refresh=False, get_renderable=self._draw)

    def run(self) -> None:
        """Show it. The terminal is left as it was."""
        threading.Thread(target=self._look, name="look", daemon=True).start()
        try:
            with suspendable(self._stop, self._start):
                self._start()
                while not self._is_over():
                    self._live.refresh()
        except KeyboardInterrupt:
            pass
        finally:
            self._stop()

    def _is_over(self) -> bool:
        """Wait for a key, for news, or for the clock."""
        heard = [self._news, *([0] if os.isatty(0) else [])]
        ready, _, _ = select.select(heard, [], [], CLOCK_S)
        if self._news in ready:
            os.read(self._news, 4096)
        return 0 in ready and os.read(0, 64)[:1] in END_KEYS

    def _look(self) -> None:
        while True:
            began = time.monotonic()
            try:
                beat = self._pulse.beat()
            except Exception as error:  # whatever it is: a picture that stands still has to say why
                reason = error.message if isinstance(error, OrchestratorError) else f"{type(error).__name__}: {error}"
                self._away = (self._away[0] if self._away else began, reason)
            else:
                if beat.rates is not None:
                    self._history.append(beat.rates)
                self._away = None
                self._take(beat)
            os.write(self._tell, b".")
            time.sleep(max(0.0, self._interval_s - (time.monotonic() - began)))

    def _take(self, beat: Beat) -> None:
        self._beat = beat
        self._skew_ms = beat.at - int(time.time() * 1000)

    def _draw(self) -> Picture:
        measure(self._screen)
        away = self._away
        reason, away_s = (away[1], time.monotonic() - away[0]) if away else (None, 0.0)
        now = int(time.time() * 1000) + self._skew_ms
        scene = Scene(self._server, self._interval_s, now, self._beat, list(self._history), reason, away_s)
        width, height = self._screen.size
        return Picture(dashboard(scene, width, height, self._pen))

    def _start(self) -> None:
        self._terminal.enter_context(unseen(keys=True))
        self._live.start(refresh=True)

    def _stop(self) -> None:
        self._live.stop()
        self._terminal.close()
