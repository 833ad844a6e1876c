"""Flower's `/metrics` with our figures behind its own."""

from __future__ import annotations

import prometheus_client

from orchestrator.metrics.formats import TEXT_TYPE, metrics_text
from orchestrator.web.handlers import Handler


class MetricsPage(Handler):
    """What Flower counts of Celery's events, then what the server has counted of runs, steps and messages."""

    async def get(self) -> None:
        ours = await self.ask(metrics_text)
        self.application.purge_offline_worker_metrics()  # as Flower does before it tells its own
        self.set_header("Content-Type", TEXT_TYPE)
        self.write(prometheus_client.generate_latest() + ours.encode())
