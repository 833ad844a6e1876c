"""A worker that is told to stop finishes what it runs, and keeps the lease of it until then. It leaves no files."""

from __future__ import annotations

import signal
from pathlib import Path

from orchestrator.store.keys import Keys
from tests.acceptance.team import attempts, names, team
from tests.waiting import wait_until


def test_a_stopping_worker_keeps_the_lease_of_what_it_still_runs(tmp_path: Path) -> None:
    with team(tmp_path, lease_s=1.0) as crew:
        door = crew.new_file()
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        crew.environment["TMPDIR"] = str(temporary)
        keeper = crew.start_worker("hand")  # it would find a lease that lapsed
        stopping = crew.start_worker("solo")
        run = crew.submit(f'steps: [{{id: a, agent: solo, task: hold, with: {{until: "{door}", value: 7}}}}]')
        crew.wait_for_start(run, "a")
        lease = f"lease {run.id} a 1"
        worker = next(process for process in crew.workers if process.pid == stopping)
        worker.send_signal(signal.SIGTERM)
        told = crew.redis.zscore(Keys().timers, lease)
        wait_until(
            lambda: (crew.redis.zscore(Keys().timers, lease) or 0) > told + 1500,
            what="heartbeats after the signal", timeout_s=10,
        )  # fmt: skip
        door.touch()
        assert run.wait(20).state == "succeeded"
        assert attempts(run) == {"a": 1}
        assert names(run, "a") == ["step.started", "step.succeeded"]
        assert worker.wait(20) == 0
        assert "solo" not in crew.online() or crew.online()["solo"] == [], "it said goodbye"
        crew.kill_worker(keeper)
        assert list(temporary.iterdir()) == [], "not of the one that was killed either"
