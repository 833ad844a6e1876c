"""What a line of the log belongs to, and how it is written."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from orchestrator.agents import loop
from orchestrator.cli.log_lines import JsonLines, TextLines
from orchestrator.logs import Discreet, Subject, about

STEP = Subject("writer", 2, run="r1", step="draft")
OTHER = Subject("editor", 1, run="r2", step="edit")


@pytest.fixture
def written() -> Iterator[Callable[[type[logging.Formatter]], tuple[logging.Logger, list[str]]]]:
    """`written(JsonLines) -> (logger, lines)`: a logger, and what it has written in that form."""
    logger, lines = logging.getLogger("tests.logs"), []
    handlers = []

    def start(form: type[logging.Formatter]) -> tuple[logging.Logger, list[str]]:
        class Written(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                lines.append(self.format(record))

        handlers.append(Written())
        handlers[-1].setFormatter(form())
        logger.addHandler(handlers[-1])
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        return logger, lines

    yield start
    for handler in handlers:
        logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def marks(line: str) -> dict[str, object]:
    return {name: value for name, value in json.loads(line).items() if name in ("run", "step", "attempt", "agent")}


def test_a_json_line_tells_run_step_attempt_and_agent(written: Callable) -> None:
    logger, lines = written(JsonLines)
    with about(STEP):
        logger.info("half of %d done", 4)
    line = json.loads(lines[0])
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info", "logger": "tests.logs", "message": "half of 4 done",
        "run": "r1", "step": "draft", "attempt": 2, "agent": "writer",
    }  # fmt: skip


def test_a_line_about_a_message_tells_its_id(written: Callable) -> None:
    logger, lines = written(JsonLines)
    with about(Subject("writer", 1, message="m1")):
        logger.info("heard")
    assert json.loads(lines[0])["message_id"] == "m1"
    assert json.loads(lines[0])["message"] == "heard"
    assert marks(lines[0]) == {"attempt": 1, "agent": "writer"}


def test_a_line_of_no_attempt_has_no_marks(written: Callable) -> None:
    logger, lines = written(JsonLines)
    with about(STEP):
        pass
    logger.info("ready")
    assert marks(lines[0]) == {}


def test_attempts_in_threads_do_not_mix(written: Callable) -> None:
    logger, lines = written(JsonLines)
    both = threading.Barrier(2, timeout=10)

    def work(subject: Subject) -> None:
        with about(subject):
            both.wait()
            logger.info("one")
            both.wait()

    threads = [threading.Thread(target=work, args=(subject,)) for subject in (STEP, OTHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(str(marks(line)["run"]) for line in lines) == ["r1", "r2"]


def test_coroutines_of_handlers_belong_to_their_attempt(written: Callable) -> None:
    logger, lines = written(JsonLines)

    async def inner() -> None:
        logger.info("inner")

    async def handler() -> None:
        await asyncio.sleep(0)
        await asyncio.gather(inner(), asyncio.to_thread(logger.info, "to a thread"))

    with about(OTHER), about(STEP):
        loop.settle(handler())
    assert [marks(line)["run"] for line in lines] == ["r1", "r1"]


def test_a_thread_of_a_handler_belongs_to_the_only_attempt_there_is(written: Callable) -> None:
    logger, lines = written(JsonLines)

    def from_a_thread(text: str) -> None:
        thread = threading.Thread(target=logger.info, args=(text,))
        thread.start()
        thread.join(10)

    with about(STEP):
        from_a_thread("alone")
        with about(OTHER):
            from_a_thread("one of two")
    assert [marks(line).get("run") for line in lines] == ["r1", None]


def test_a_thread_of_the_engine_belongs_to_no_attempt() -> None:
    form, line = JsonLines(), logging.LogRecord("orchestrator.runtime.keeper", 20, "", 0, "late", (), None)
    told = []
    with about(STEP):
        thread = threading.Thread(target=lambda: told.append(form.format(line)))
        thread.start()
        thread.join(10)
    assert marks(told[0]) == {}


def test_what_must_not_be_told_is_taken_out_of_text_arguments_and_traceback(written: Callable) -> None:
    logger, lines = written(JsonLines)
    with about(Subject("writer", 1, run="r1", step="a", redact=lambda text: text.replace("hush", "***"))):
        try:
            raise ValueError("hush")
        except ValueError:
            logger.exception("it said %s", "hush")
    line = json.loads(lines[0])
    assert line["message"] == "it said ***"
    assert "ValueError: ***" in line["exception"]
    assert "hush" not in lines[0]


def test_arguments_that_do_not_fit_are_not_shown(written: Callable) -> None:
    logger, lines = written(JsonLines)
    logger.info("so many: %d", "payload")
    assert json.loads(lines[0])["message"] == "so many: %d"


def test_a_text_line_tells_the_same_and_cannot_pass_for_two(written: Callable) -> None:
    logger, lines = written(TextLines)
    with about(STEP):
        logger.warning("red \x1b[31m\n12:00:00 INFO forged")
    clock, rest = lines[0].split(" ", 1)
    assert len(clock) == len("12:00:00")
    assert rest == "WARNING run=r1 step=draft attempt=2 agent=writer red \\x1b[31m\n  12:00:00 INFO forged"


def test_a_json_line_is_one_line_of_plain_ascii(written: Callable) -> None:
    logger, lines = written(JsonLines)
    logger.info("a\nb \x9b \ud800 語")
    assert lines[0].isascii()
    assert "\n" not in lines[0]
    assert json.loads(lines[0])["message"] == "a\nb \x9b \ud800 語"


def test_what_a_handler_prints_leaves_out_what_must_not_be_told() -> None:
    stream = io.StringIO()
    printed = Discreet(stream)
    with about(Subject("writer", 1, run="r1", step="a", redact=lambda text: text.replace("hush", "***"))):
        print("it is hush", file=printed)
        printed.writelines(["hush", "\n"])
        thread = threading.Thread(target=print, args=("hush",), kwargs={"file": printed})
        thread.start()
        thread.join()
    print("hush", file=printed)
    assert stream.getvalue() == "it is ***\n***\n***\nhush\n"
    assert printed.getvalue() == stream.getvalue(), "the rest is the stream's"
