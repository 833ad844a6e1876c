"""What both a page and the API show of one thing."""

from __future__ import annotations

from typing import Any

from orchestrator.client import Client


def view_run(client: Client, run_id: str) -> dict[str, Any]:
    """A run, as its page and `GET /runs/RUN` show it. Raises RunNotFound."""
    return client.run(run_id).document()
