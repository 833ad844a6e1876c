"""Keeps what handlers log: the lines of their modules and of `ctx.log`, from INFO upwards, for `orchestrator logs`.

The lines of an attempt go to the store in one call when it ends, and before that once or twice a second. An attempt
that logs nothing costs nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from orchestrator.agents.loading import AgentRegistry
from orchestrator.logs import HANDLERS, Subject, said, subject_of
from orchestrator.records import LogLine
from orchestrator.store.run_log import RunLog

FLUSH_S = 0.5  # what a killed worker may take with it is as old as this, and as a call takes
MAX_LINE_BYTES = 4096
_LEAST = logging.INFO


class HandlerLogs:
    """The lines of this process's handlers that the store does not have yet.

    Args:
        most: lines of a run that are kept, and that wait to be sent.
    """

    def __init__(self, store: RunLog, registry: AgentRegistry, *, most: int) -> None:
        self._store = store
        self._most = most
        self._waiting: dict[str, _Waiting] = {}  # by run
        self._lock = threading.RLock()  # held for a moment; a signal's own code may log
        self._sending = threading.RLock()  # held for a call to the server, so that lines stay in order
        self._some = threading.Event()
        self._thread: threading.Thread | None = None
        _listen(registry)

    def keep(self, subject: Subject, record: logging.LogRecord) -> None:
        """Note a line of an attempt."""
        text = "\n".join(part for part in said(record, subject) if part)
        line = LogLine(
            round(record.created * 1000), subject.step, subject.attempt, subject.agent,
            record.levelname.lower(), record.name, shorten(text),
        )  # fmt: skip
        with self._lock:
            waiting = self._waiting.get(subject.run)
            if waiting is None:
                waiting = self._waiting[subject.run] = _Waiting(self._most)
            waiting.add(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._send, name="handler-logs", daemon=True)
                self._thread.start()
        self._some.set()

    def flush(self) -> None:
        """Send what there is. Where the server does not take it, it is tried again soon."""
        if not self._waiting:
            return
        with self._sending:
            for run_id in list(self._waiting):
                with self._lock:
                    waiting = self._waiting.pop(run_id, None)
                if waiting is not None and not self._sent(run_id, waiting):
                    self._some.set()
                    return

    def _sent(self, run_id: str, waiting: _Waiting) -> bool:
        sent = False
        try:
            sent = self._store.append(run_id, waiting.told(), most=self._most)
        finally:  # also when a signal ends the attempt in here
            if not sent:
                with self._lock:
                    newer = self._waiting.get(run_id)
                    self._waiting[run_id] = waiting.and_then(newer)
        return sent

    def _send(self) -> None:
        while True:
            self._some.wait()
            time.sleep(FLUSH_S)
            self._some.clear()
            self.flush()


class _Waiting:
    """The lines of one run, the newest `most` of them."""

    def __init__(self, most: int) -> None:
        self.lines: deque[LogLine] = deque(maxlen=most)
        self.dropped = 0

    def add(self, line: LogLine) -> None:
        self.dropped += len(self.lines) == self.lines.maxlen
        self.lines.append(line)

    def and_then(self, newer: _Waiting | None) -> _Waiting:
        """These lines, then the newer ones."""
        if newer is not None:
            self.dropped += newer.dropped
            for line in newer.lines:
                self.add(line)
        return self

    def told(self) -> list[LogLine]:
        """The lines; the first says what is missing, if anything is."""
        lines = list(self.lines)
        if self.dropped:  # the first gives its place, or what says so would be the first to go
            gap = f"{self.dropped + 1:,} lines were dropped here: more than the server took in time"
            lines[0] = replace(lines[0], level="warning", logger="orchestrator", text=gap)
        return lines


class _Relay(logging.Handler):
    """Gives the lines of handlers to who keeps those of the attempt. One for the whole process."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            subject = subject_of(record)
            if subject is not None and subject.keep is not None:
                subject.keep(subject, record)
        except Exception:
            self.handleError(record)


class _Raised(logging.Filter):
    """Keeps out of the other handlers what is there only because a logger's level was raised for the relay."""

    def __init__(self) -> None:
        super().__init__()
        self.loggers: dict[str, int] = {}  # name -> the level that counted for it

    def filter(self, record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger.level == logging.NOTSET:
            logger = logger.parent
        return logger is None or record.levelno >= self.loggers.get(logger.name, 0)


_relay = _Relay(_LEAST)
_raised = _Raised()


def _listen(registry: AgentRegistry) -> None:
    """Hear the loggers of the agents' modules, whatever the log level."""
    for name in {HANDLERS, *_packages(registry)}:
        logger = logging.getLogger(name)
        if _relay in logger.handlers:
            continue
        logger.addHandler(_relay)
        level = logger.getEffectiveLevel()
        if logger.level == logging.NOTSET and level > _LEAST:
            _raised.loggers[name] = level
            logger.setLevel(_LEAST)
            for handler in {*logger.handlers, *logging.getLogger().handlers} - {_relay}:
                handler.addFilter(_raised)


def _packages(registry: AgentRegistry) -> Iterable[str]:
    """The modules that handlers are in, or the packages of these."""
    for name in registry.names:
        agent = registry.get(name)
        for fn in (*(task.fn for task in agent.tasks.values()), *(ear.fn for ear in agent.ears.values())):
            package = str(getattr(fn, "__module__", None) or "").partition(".")[0]
            if package and package != "orchestrator":  # its own lines are not the handler's
                yield package


def shorten(text: str) -> str:
    """The text, as far as it may be kept."""
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= MAX_LINE_BYTES:
        return raw.decode()
    return raw[: MAX_LINE_BYTES - 3].decode("utf-8", "ignore") + "…"
