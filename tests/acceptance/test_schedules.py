"""Schedules: exactly one run for each due time, whoever keeps, and what becomes of due times that were missed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from orchestrator import WorkflowInvalid
from orchestrator.records import RunRecord
from orchestrator.runtime.schedule import AT_ONCE, fire, which_due
from orchestrator.store.schedules import Schedule, Schedules
from orchestrator.workflow.cron import due_times
from tests.acceptance.team import Team, team
from tests.waiting import wait_until

TEXT = "schedule: {cron: '0 0 1 1 *', timezone: Europe/Berlin}\nsteps: [{id: a, agent: hand, task: echo}]\n"
MINUTE = 60_000


def rewind(crew: Team, name: str, ms: int, *, kept: bool = True) -> Schedule:
    """Let a schedule be due `ms` ago. `kept`: the keeper sees to it."""
    if not kept:
        crew.redis.zrem(crew.client.store.keys.timers, f"schedule {name} - 0")
    schedules = Schedules(crew.redis, crew.client.store.keys)
    schedule = schedules.read(name)
    assert schedule
    text = crew.redis.hget(crew.client.store.keys.schedules, name)
    due = schedules.now_ms() - ms
    crew.redis.hset(
        crew.client.store.keys.schedules, name, text.replace(f'"next_ms": {schedule.next_ms}', f'"next_ms": {due}')
    )
    if kept:
        crew.redis.zadd(crew.client.store.keys.timers, {f"schedule {name} - 0": due})
    return schedule


def runs_of(crew: Team) -> list[RunRecord]:
    return crew.client.runs(workflow="test", limit=500)


def test_a_due_schedule_starts_one_run_with_two_workers_and_a_killed_keeper(tmp_path: Path) -> None:
    with team(tmp_path, lease_s=2.0) as crew:
        made = crew.client.schedule(crew.write(TEXT))
        assert made.next_ms
        assert local(made.next_ms) == "01 00:00 +0100"
        pids = [crew.start_worker("hand") for _ in range(2)]
        rewind(crew, "test", 1000)
        wait_until(lambda: runs_of(crew), what="the run", timeout_s=10)
        crew.kill_worker(pids[0])  # perhaps the keeper, perhaps before it has noted the run
        after = wait_until(
            lambda: (found := crew.client.schedules()[0]).last_run and found,
            what="the schedule to move on",
            timeout_s=15,
        )
        assert after.next_ms
        assert after.next_ms > Schedules(crew.redis, crew.client.store.keys).now_ms()
        assert [run.id for run in runs_of(crew)] == [after.last_run]
        assert crew.client.unschedule("test")
        assert not crew.client.unschedule("test")
        assert crew.client.schedules() == []


def test_a_keeper_that_dies_after_the_start_has_started_one_run(crew: Team) -> None:
    """What it does between the start and the note is done again by the next one."""
    crew.client.schedule(crew.write(TEXT), name="twice")
    before = rewind(crew, "twice", 1000, kept=False)
    text = crew.redis.hget(crew.client.store.keys.schedules, "twice")
    engine = crew.client.app.engine
    count = len(runs_of(crew))
    assert len(fire(engine, "twice")) == 1
    crew.redis.hset(crew.client.store.keys.schedules, "twice", text)  # as if it had not been noted
    assert fire(engine, "twice") == []
    assert len(runs_of(crew)) == count + 1
    assert before.name == "twice"
    crew.client.unschedule("twice")


def test_overlap_skips_queues_or_allows(crew: Team) -> None:
    gate = crew.new_file()
    text = f"steps: [{{id: a, agent: many, task: hold, with: {{until: '{gate}'}}}}]\n"
    engine = crew.client.app.engine
    for overlap, waiting, skipped in (("skip", 0, 1), ("queue", 1, 0), ("allow", 0, 0)):
        file = crew.write(text)
        crew.client.schedule(file, name=overlap, cron="0 0 1 1 *", overlap=overlap)
        for ms in (2 * MINUTE, 0):
            rewind(crew, overlap, ms, kept=False)
            for advance in fire(engine, overlap):
                crew.client.carry_on(advance)
            for found in crew.redis.scan_iter(f"{crew.client.store.keys.prefix}idem:schedule:{overlap}:*"):
                crew.redis.delete(found)  # both are the due time of this year
        schedule = next(found for found in crew.client.schedules() if found.name == overlap)
        assert schedule.skipped == skipped, overlap
        slot = crew.client.store.keys.slots(f"schedule:{overlap}")
        assert crew.redis.zcard(slot + ":wait") == waiting
        crew.client.unschedule(overlap)
    gate.touch()


def a_schedule(catchup: str, next_ms: int, cron: str = "*/10 * * * *") -> Schedule:
    return Schedule("x", "p", "w", cron, "UTC", "skip", catchup, {}, next_ms)


def test_missed_due_times_are_left_out_made_up_for_by_one_run_or_by_all() -> None:
    first = 1_764_000_000_000 - 1_764_000_000_000 % (10 * MINUTE)
    now = first + 35 * MINUTE
    assert which_due(a_schedule("none", first), now) == []
    assert which_due(a_schedule("latest", first), now) == [first + 30 * MINUTE]
    assert which_due(a_schedule("all", first), now) == [first + at * 10 * MINUTE for at in range(4)]
    assert which_due(a_schedule("none", first), first + 1000) == [first], "a second late is not missed"
    much_later = first + 10_000 * MINUTE
    assert len(which_due(a_schedule("all", first, "* * * * *"), much_later)) == AT_ONCE
    started = time.monotonic()
    assert which_due(a_schedule("latest", first, "* * * * *"), first + 600_000 * MINUTE)
    assert time.monotonic() - started < 1.0, "a year of minutes is not gone through"


def berlin(*when: int) -> int:
    return round(datetime(*when, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000)  # type: ignore[misc,arg-type]


def local(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, tz=UTC).astimezone(ZoneInfo("Europe/Berlin")).strftime("%d %H:%M %z")


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # 29 March 2026: 02:00 is 03:00, so 02:30 does not exist; what is due then runs at the end of the gap
        ("30 2 * * *", berlin(2026, 3, 28, 12), ["29 03:00 +0200", "30 02:30 +0200"]),
        ("0 9 * * *", berlin(2026, 3, 28, 12), ["29 09:00 +0200", "30 09:00 +0200"]),
        # 25 October 2026: 03:00 is 02:00 again, so 02:30 comes twice; a daily job runs once
        ("30 2 * * *", berlin(2026, 10, 24, 12), ["25 02:30 +0200", "26 02:30 +0100"]),
        ("0 9 * * *", berlin(2026, 10, 24, 12), ["25 09:00 +0100", "26 09:00 +0100"]),
        # every half hour is every half hour, also when the hour comes twice
        ("*/30 2 * * *", berlin(2026, 10, 24, 12), ["25 02:00 +0200", "25 02:30 +0200"]),
    ],
)
def test_daylight_saving_changes(cron: str, after: int, expected: list[str]) -> None:
    found = due_times(cron, "Europe/Berlin", after)
    assert [local(next(found)) for _ in expected] == expected


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("cron: '0 0 30 2 *'", "'0 0 30 2 *' is never due"),
        ("cron: '61 * * * *'", "is no cron line"),
        ("cron: '* * * * *', timezone: Mars/Base", "no time zone 'Mars/Base'"),
        ("cron: '* * * * *', inputs: {x: 1}", "no input 'x'"),
        ("cron: '* * * * *', overlap: maybe", "not one of skip, allow, queue"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(crew: Team, schedule: str, message: str) -> None:
    with pytest.raises(WorkflowInvalid, match=message.replace("*", r"\*")):
        crew.client.schedule(crew.write(f"schedule: {{{schedule}}}\nsteps: [{{id: a, set: {{}}}}]\n"))
    assert crew.client.schedules() == []
