"""The log of a run on a real server: order, bounds, how long it stays; and the lines that wait to be sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
import redis

from orchestrator.agents.agent import Agent
from orchestrator.agents.handler_logs import MAX_LINE_BYTES, HandlerLogs
from orchestrator.agents.loading import AgentRegistry
from orchestrator.logs import HANDLERS, Subject, about
from orchestrator.records import LogLine
from orchestrator.store.connection import blocking
from orchestrator.store.embedded import EmbeddedServer
from orchestrator.store.run_log import RunLog
from orchestrator.store.runs import RunStore
from tests.conftest import KEYS
from tests.factories import plan, task
from tests.waiting import wait_until

MOST = 10
writer = Agent("writer")
log = logging.getLogger(__name__)


@writer.task
def draft() -> None: ...


def line(text: str, step: str = "a") -> LogLine:
    return LogLine(1_700_000_000_000, step, 1, "writer", "info", "team", text)


def texts(lines: Sequence[LogLine]) -> list[str]:
    return [one.text for one in lines]


@pytest.fixture
def run_log(client: redis.Redis) -> RunLog:
    return RunLog(client, KEYS)


@pytest.fixture
def run_id(create: Callable) -> str:
    found, _ = create(plan(task("a")))
    return str(found)


def finish(store: RunStore, run_id: str) -> None:
    claim = store.claim_step(run_id, "a", worker="w1", lease_ms=10_000)
    assert claim is not None
    store.finish_step(run_id, "a", claim.attempt, "1")


def test_lines_come_back_as_they_were_in_order(run_log: RunLog, store: RunStore, run_id: str) -> None:
    given = [line("one"), line("two\n\x1b[31m 語", "b[3]")]
    assert run_log.append(run_id, given, most=MOST)
    found = run_log.read(run_id)
    assert [LogLine(**{**{n: getattr(one, n) for n in LogLine.__slots__}, "id": ""}) for one in found] == given
    assert texts(run_log.read(run_id, found[0].id)) == ["two\n\x1b[31m 語"]
    finish(store, run_id)


def test_the_oldest_lines_are_dropped_and_counted(run_log: RunLog, store: RunStore, run_id: str) -> None:
    assert run_log.dropped(run_id) == 0
    for at in range(MOST + 3):
        run_log.append(run_id, [line(str(at))], most=MOST)
    assert texts(list(run_log.read_all(run_id))) == [str(at) for at in range(3, MOST + 3)]
    assert run_log.dropped(run_id) == 3
    finish(store, run_id)


def test_many_long_lines_go_in_several_packets(run_log: RunLog, store: RunStore, run_id: str) -> None:
    given = [line(f"{at} {'x' * MAX_LINE_BYTES}") for at in range(100)] + [line(str(at)) for at in range(1500)]
    assert run_log.append(run_id, given, most=2000)
    assert texts(list(run_log.read_all(run_id))) == texts(given)
    finish(store, run_id)


def test_a_log_lives_as_long_as_its_run(
    run_log: RunLog, store: RunStore, client: redis.Redis, run_id: str
) -> None:
    run_log.append(run_id, [line("before")], most=MOST)
    assert client.ttl(KEYS.log(run_id)) == -1
    finish(store, run_id)
    assert 0 < client.pttl(KEYS.log(run_id)) <= client.pttl(KEYS.run(run_id)) + 100


def test_a_line_that_comes_after_the_end_does_not_make_the_log_stay(
    run_log: RunLog, store: RunStore, client: redis.Redis, run_id: str
) -> None:
    finish(store, run_id)
    run_log.append(run_id, [line("late")], most=MOST)
    assert texts(run_log.read(run_id)) == ["late"]
    assert 0 < client.pttl(KEYS.log(run_id)) <= client.pttl(KEYS.run(run_id)) + 100


def test_a_run_that_is_gone_gets_no_log(run_log: RunLog, client: redis.Redis) -> None:
    assert run_log.append("never", [line("x")], most=MOST)
    assert not client.exists(KEYS.log("never"))


def test_waiting_for_lines_ends_with_the_first(
    run_log: RunLog, store: RunStore, server: EmbeddedServer, run_id: str
) -> None:
    client = blocking(server.url, block_s=1)
    assert run_log.wait(client, run_id, "0", 1) == []
    run_log.append(run_id, [line("x")], most=MOST)
    assert texts(run_log.wait(client, run_id, "0", 1000)) == ["x"]
    finish(store, run_id)


# --- what waits to be sent --------------------------------------------------------------------------------------------


class Moody(RunLog):
    """A log whose server is away while `away` is set."""

    away = False
    calls = 0

    def append(self, run_id: str, lines: Sequence[LogLine], *, most: int) -> bool:
        self.calls += 1
        return not self.away and super().append(run_id, lines, most=most)


@pytest.fixture
def moody(client: redis.Redis) -> Moody:
    return Moody(client, KEYS)


@pytest.fixture
def logs(moody: Moody) -> Iterator[HandlerLogs]:
    """Those of this process, whose loggers are afterwards as they were."""
    loggers = [logging.getLogger(name) for name in ("tests", HANDLERS)]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield HandlerLogs(moody, AgentRegistry([writer]), most=MOST)
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers = handlers


@pytest.fixture
def subject(logs: HandlerLogs, run_id: str) -> Subject:
    return Subject("writer", 1, run=run_id, step="a", keep=logs.keep)


def test_lines_of_an_attempt_are_one_call_and_none_is_none(
    logs: HandlerLogs, moody: Moody, subject: Subject, store: RunStore
) -> None:
    logs.flush()
    assert moody.calls == 0
    with about(subject):
        log.info("one")
        log.warning("two")
        logs.flush()
        logs.flush()
    assert moody.calls == 1
    assert texts(moody.read(subject.run)) == ["one", "two"]
    finish(store, subject.run)


def test_a_handler_that_goes_on_is_heard_within_a_second(
    logs: HandlerLogs, moody: Moody, subject: Subject, store: RunStore
) -> None:
    with about(subject):
        began = time.monotonic()
        log.info("still at it")
        wait_until(lambda: moody.read(subject.run), what="the line", timeout_s=5)
        assert time.monotonic() - began < 1.5
    finish(store, subject.run)


def test_what_the_server_did_not_take_is_sent_when_it_is_back(
    logs: HandlerLogs, moody: Moody, subject: Subject, store: RunStore
) -> None:
    moody.away = True
    with about(subject):
        log.info("one")
        logs.flush()
        log.info("two")
        logs.flush()
    assert moody.read(subject.run) == []
    moody.away = False
    wait_until(lambda: texts(moody.read(subject.run)) == ["one", "two"], what="both lines", timeout_s=5)
    finish(store, subject.run)


def test_more_than_may_wait_leaves_a_line_that_says_so(
    logs: HandlerLogs, moody: Moody, subject: Subject, store: RunStore
) -> None:
    with about(subject):
        for at in range(MOST + 5):
            log.info("line %d", at)
        logs.flush()
    first, *rest = texts(moody.read(subject.run))
    assert first == "6 lines were dropped here: more than the server took in time"
    assert rest == [f"line {at}" for at in range(6, MOST + 5)]
    finish(store, subject.run)


def test_a_line_is_4_kb_at_most_and_always_text(
    logs: HandlerLogs, moody: Moody, subject: Subject, store: RunStore
) -> None:
    with about(subject):
        log.info("語" * 5000)
        log.info("half \ud800")
        logs.flush()
    long, half = texts(moody.read(subject.run))
    assert MAX_LINE_BYTES - 3 <= len(long.encode()) <= MAX_LINE_BYTES
    assert long.endswith("語…")
    assert half == "half \\ud800"
    finish(store, subject.run)


def test_others_do_not_see_lines_that_are_there_only_for_the_log(
    logs: HandlerLogs, moody: Moody, subject: Subject, store: RunStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert logging.getLogger().getEffectiveLevel() == logging.WARNING
    with about(subject):
        log.info("for the log")
        log.warning("for all")
        logs.flush()
    assert texts(moody.read(subject.run)) == ["for the log", "for all"]
    assert caplog.messages == ["for all"]
    finish(store, subject.run)
