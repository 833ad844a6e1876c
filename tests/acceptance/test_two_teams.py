"""Two teams with the same agents in one database: queues of their own, and nothing taken from each other."""

from __future__ import annotations

from pathlib import Path

from orchestrator import MessageState
from orchestrator.store import embedded
from tests.acceptance.team import attempts, team
from tests.waiting import wait_until


def test_two_teams_in_one_database_take_nothing_from_each_other(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    with (
        embedded.acquire(tmp_path / "server") as server,
        team(folders[0], url=server.url, prefix="one:") as one,
        team(folders[1], url=server.url, prefix="two:") as two,
    ):
        for crew in (one, two):
            crew.start_worker("hand", "echoer", concurrency=1)
        steps = "\n".join(f"  - {{id: s{n}, agent: hand, task: echo, with: {{value: {n}}}}}" for n in range(10))
        runs = [crew.submit(f"steps:\n{steps}\n") for crew in (one, two) for _ in range(3)]
        for run in runs:
            run.result(20)
            assert set(attempts(run).values()) == {1}
        for crew in (one, two):
            receipt = crew.client.send("echoer", "hello")
            wait_until(
                lambda r=receipt: r.status() is MessageState.ACKNOWLEDGED, what="its end",
                timeout_s=20,
            )  # fmt: skip
            assert "RunNotFound" not in crew.log
            assert crew.client.audit().findings == []
            assert crew.client.quarantines()[0].count() == 0
