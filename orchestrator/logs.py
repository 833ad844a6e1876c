"""What a line of the log belongs to: the attempt that its thread, or its coroutine, is at.

What formats lines and what keeps them asks here. Nothing here writes a line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TextIO, cast

HANDLERS = "orchestrator.agent"  # the loggers of `ctx.log` are below it
_ENGINE = ("orchestrator", "celery", "kombu", "amqp", "redis")
_PLAIN = logging.Formatter()


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One attempt at a step, or at a message, as the lines tell it that are written meanwhile.

    Args:
        redact: takes out of a text what must not be told.
        keep: is given the lines of the handler; None: nobody keeps them.
    """

    agent: str
    attempt: int
    run: str = ""
    step: str = ""
    message: str = ""
    redact: Callable[[str], str] = str
    keep: Callable[[Subject, logging.LogRecord], None] | None = None

    def marks(self) -> dict[str, str | int]:
        """What every line carries: run and step, or the message; attempt and agent."""
        ids = {"run": self.run, "step": self.step, "message_id": self.message}
        return {**{name: text for name, text in ids.items() if text}, "attempt": self.attempt, "agent": self.agent}


_subject: ContextVar[Subject | None] = ContextVar("subject", default=None)
_subjects: list[Subject] = []  # of all attempts that this process is at


class about:
    """Marks the lines of this thread, and of the coroutines that it starts, for the time of a `with`."""

    def __init__(self, subject: Subject) -> None:
        self._about = subject

    def __enter__(self) -> Subject:
        self._token = _subject.set(self._about)
        _subjects.append(self._about)
        return self._about

    def __exit__(self, *_: object) -> None:
        _subjects.remove(self._about)
        _subject.reset(self._token)


def subject_of(record: logging.LogRecord) -> Subject | None:
    """The attempt that a line belongs to. Call it where the line is written, not later.

    A thread that a handler has started knows nothing of it. Its lines belong to the one attempt that the process is
    at; with several, which a pool of threads has, nobody can tell.
    """
    found = _subject.get()
    return _only_one() if found is None and not _of_engine(record.name) else found


def _only_one() -> Subject | None:
    known = tuple(_subjects)
    return known[0] if len(known) == 1 else None


class Discreet:
    """A stream on which what handlers print leaves out what must not be told. Everything else is the stream's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        subject = _subject.get() or _only_one()
        self._stream.write(text if subject is None else subject.redact(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def said(record: logging.LogRecord, subject: Subject | None) -> tuple[str, str]:
    """What a line says, and the traceback that comes with it, or ''; without what must not be told."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError, KeyError):  # the arguments do not fit, and must not be shown beside it
        text = str(record.msg)
    trace = _PLAIN.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
    return (text, trace) if subject is None else (subject.redact(text), subject.redact(trace))


def _of_engine(name: str) -> bool:
    return name.partition(".")[0] in _ENGINE and not name.startswith(f"{HANDLERS}.")


def print_discreetly() -> None:
    """Let what handlers of this process, and of those that it forks, print leave out what must not be told."""
    sys.stdout, sys.stderr = (cast(TextIO, Discreet(stream)) for stream in (sys.stdout, sys.stderr))
