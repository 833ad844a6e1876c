"""What `orchestrator top` reads, again and again, of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import RunState
from orchestrator.metrics import pulse as pulse_module
from orchestrator.metrics.pulse import MOST_OPEN, NEWEST, Beat, Pulse
from tests.acceptance.team import Team, team
from tests.waiting import wait_until

WAITS = "steps: [{id: a, agent: hand, task: echo}]"
FOR_SIGNAL = "steps: [{id: a, wait: {signal: go}}]"
FAN = f"steps: [{{id: a, foreach: {list(range(200))}, agent: many, task: echo}}]"


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Team]:
    """A team that nobody works for."""
    with team(tmp_path) as made:
        yield made


def ids(beat: Beat) -> set[str]:
    return {run.id for run in beat.open}


def test_a_beat_has_the_open_runs_however_old_they_are(quiet: Team) -> None:
    old = quiet.submit(WAITS)
    pulse = Pulse(quiet.client)
    assert ids(pulse.beat()) == {old.id}
    newer = quiet.client.submit_many(quiet.write(WAITS), [{}] * (NEWEST + 5))
    beat = pulse.beat()
    assert ids(beat) == {old.id, *(run.id for run in newer)}, "more are new than a beat reads at first"
    assert beat.open[-1].id == old.id
    old.cancel()
    for run in newer[1:]:
        run.cancel()
    wait_until(lambda: ids(pulse.beat()) == {newer[0].id}, what="the cancelled runs to leave", timeout_s=10)
    assert beat.rates is None or beat.rates.over_s > 0


def test_the_first_runs_may_be_more_than_a_beat_reads_at_first(quiet: Team) -> None:
    pulse = Pulse(quiet.client)
    assert ids(pulse.beat()) == set()
    runs = quiet.client.submit_many(quiet.write(WAITS), [{}] * (NEWEST + 5))
    assert ids(pulse.beat()) == {run.id for run in runs}


def test_open_runs_beyond_those_of_one_beat_are_read_in_turn(quiet: Team) -> None:
    runs = quiet.client.submit_many(quiet.write(WAITS), [{}] * (2 * MOST_OPEN))
    pulse = Pulse(quiet.client)
    assert len(pulse.beat().open) == 2 * MOST_OPEN
    for run in runs:
        run.cancel()
    for _ in range(3):
        beat = pulse.beat()
    assert ids(beat) == set()


def test_rates_count_what_has_ended_also_where_the_journal_is_only_sampled(
    crew: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = Pulse(crew.client)
    assert pulse.beat().rates is None
    crew.run(FAN)
    rates = pulse.beat().rates
    assert rates
    assert (round(rates.steps * rates.over_s), round(rates.runs * rates.over_s)) == (201, 1)
    monkeypatch.setattr(pulse_module, "MOST_ENTRIES", 100)
    crew.run(FAN)
    rates = pulse.beat().rates
    assert rates
    assert rates.steps * rates.over_s == pytest.approx(201, rel=0.5)
    assert round(rates.runs * rates.over_s) == 1, "runs are counted one by one"
    rates = pulse.beat().rates
    assert rates
    assert rates.steps == 0


def test_a_run_at_work_is_told_from_one_that_waits_and_from_one_that_failed(crew: Team, tmp_path: Path) -> None:
    pulse, gate = Pulse(crew.client), tmp_path / "gate"
    working = crew.submit(f"steps: [{{id: a, agent: hand, task: hold, with: {{until: '{gate}'}}}}]")
    waiting = crew.submit(FOR_SIGNAL)
    failed = crew.run("steps: [{id: a, agent: hand, task: fail}]")

    def told() -> Any:
        beat = pulse.beat()
        return working.id in beat.active and beat.active[working.id] == 1 and beat.failed[0].id == failed.id

    wait_until(told, what="an attempt at work and a failed run", timeout_s=10)
    beat = pulse.beat()
    assert beat.active[waiting.id] == 0
    assert [run.state for run in beat.open if run.id in (working.id, waiting.id)] == [RunState.RUNNING] * 2
    gate.touch()
    working.wait(10)
    waiting.signal("go")
    waiting.wait(10)
    assert not ids(pulse.beat()) & {working.id, waiting.id}
    assert not pulse.beat().active.keys() & {working.id, waiting.id}


def test_a_beat_costs_a_few_commands_and_no_more_with_more_runs_that_are_over(quiet: Team) -> None:
    server: Any = quiet.client.store.client

    def cost() -> tuple[int, int]:
        """Commands, those of scripts included, and bytes that the server sends, of a beat after the first: the
        cheapest of three, as other costs are counted.
        """
        pulse, found = Pulse(quiet.client), []
        pulse.beat()
        for _ in range(3):
            server.config_resetstat()
            pulse.beat()
            counted = server.info("commandstats")
            sent_bytes = server.info("stats")["total_net_output_bytes"]
            found.append((sum(one["calls"] for one in counted.values()), sent_bytes))
        return min(found)

    few, _ = cost()
    for run in quiet.client.submit_many(quiet.write(WAITS), [{}] * 200):
        run.cancel()
    # Ids are made by clients, the order is the server's: the newest run may have any id.
    server.zadd(quiet.client.store.keys.runs, {min(server.zrange(quiet.client.store.keys.runs, 0, -1)): 10**13})
    commands, sent_bytes = cost()
    assert few <= 20
    assert commands - few <= NEWEST + 5, "each of the newest runs is one, and there is an agent now"
    assert sent_bytes < 8_000
