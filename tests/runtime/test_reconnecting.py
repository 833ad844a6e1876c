"""How often a worker looks for a broker that is away."""

from __future__ import annotations

from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from orchestrator.runtime.app import make_app
from orchestrator.runtime.reconnecting import PAUSES_S
from orchestrator.settings import Settings


def test_the_pauses_of_a_worker_grow_to_three_seconds_and_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda seconds: None)

    def note(error: Exception, pause_s: float) -> None:
        pauses.append(pause_s)

    app = make_app(Settings(url=f"redis+socket://{tmp_path}/nobody"))
    with app.connection_for_read() as connection, pytest.raises(OperationalError):
        connection.ensure_connection(note, max_retries=8)
    app.close()
    assert pauses[0] == PAUSES_S["interval_start"]
    assert pauses == sorted(pauses)
    assert max(pauses) == PAUSES_S["interval_max"]
