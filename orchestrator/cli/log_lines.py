"""How a line of the log is written: for people, or as JSON for programs. Each tells what it belongs to."""

from __future__ import annotations

import json
import logging
from datetime import datetime

from orchestrator.cli.text import visible
from orchestrator.logs import said, subject_of
from orchestrator.records import rfc3339


class TextLines(logging.Formatter):
    """`12:00:01 INFO run=RUN step=draft attempt=1 agent=writer what was said`; further lines are indented, so that no
    text can pass for a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        subject = subject_of(record)
        text, trace = said(record, subject)
        marks = "".join(f"{name}={value} " for name, value in subject.marks().items()) if subject else ""
        lines = visible("\n".join(part for part in (text, trace) if part)).replace("\n", "\n  ")
        return f"{datetime.fromtimestamp(record.created):%H:%M:%S} {record.levelname} {marks}{lines}"


class JsonLines(logging.Formatter):
    """`{time, level, logger, message}`, `exception` where there is one, and run, step, attempt and agent, or the id of
    the message, of what was handled. Time is RFC 3339, UTC."""

    def format(self, record: logging.LogRecord) -> str:
        subject = subject_of(record)
        text, trace = said(record, subject)
        line = {
            "time": rfc3339(round(record.created * 1000)), "level": record.levelname.lower(), "logger": record.name,
            "message": text,
        }  # fmt: skip
        if trace:
            line["exception"] = trace
        # Plain ASCII: standard error may have any encoding, and what is escaped cannot repaint a terminal.
        return json.dumps({**line, **(subject.marks() if subject else {})})
